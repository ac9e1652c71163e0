"""One training folder from the public sets: upright slices in one grey scale, reserved cases left out.

Each set has its own orientation, grey scale and file kind; after :func:`prepare` a recipe sees folders with
``Imgs`` and ``GT`` that differ in nothing but where their labels come from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_train.data.classes import class_mask_of, read_classes, within_infection
from infnet_train.data.manual import manual_slices
from infnet_train.data.masks import LabelMeaning, read_pair
from infnet_train.data.negatives import normal_slices
from infnet_train.data.neighbours import NEIGHBOUR_STEP_MM
from infnet_train.data.pictures import INFECTED, DataError, check_size, read_grey, slices_in, upright
from infnet_train.data.prepared import PreparedSlice, write_folders
from infnet_train.data.reserved import is_reserved
from infnet_train.data.semiseg import LABELLED, MULTI_CLASS, PSEUDO, regraded, turn_of, upright_pair
from infnet_train.data.volumes import slices_of_volume

# The enhanced slices have half the pixels of the volumes they were made from, on each side.
_TWIN_REDUCTION = 2
# Correlation of a slice with its enhanced twin. Twins reach 0.73 to 0.94, the slices beside them up to 0.92
# but less than the twin, and slices of volumes without a twin 0.56 at most.
_TWIN_CORRELATION = 0.75


# Labels of the Radiopaedia volumes; the class of 3 is lost in their source.
_RADIOPAEDIA = LabelMeaning(infection=(3,), ground_glass=(1,), consolidation=(2,))


@dataclass(frozen=True)
class _Twin:
    """Where an enhanced slice shows a slice of COVID-SemiSeg; the corner in pixels of the latter."""

    correlation: float
    name: str
    row: int
    column: int


def prepare(data: Path, out: Path, *, neighbour_step_mm: float = NEIGHBOUR_STEP_MM) -> dict[str, int]:
    """Write one folder for each kind of labels below ``out``, if its sets are there.

    ``labelled``, ``pseudo`` and ``transferred`` are slices of COVID-SemiSeg, ``manual`` those of them with
    radiologists' labels of another group, ``volumes`` slices of whole scans; ``healthy`` and ``normal`` have
    no infection, and ``normal-held-back`` is for measuring alone. ``prepared.json`` says how they were made.

    The folders take their names when all of them are complete. Until then they are in a hidden
    ``.infnet-*.part``, which is removed after an error and remains only where the process is killed.

    Parameters
    ----------
    data
        Holds ``covid-semiseg`` (needed), ``covid-semiseg-manual``, ``radiopaedia-covid-volumes`` and ``-2``,
        ``radiopaedia-second-reader``, ``coronacases-slices``, ``healthy-ct-volumes``, ``iq-othnccd-normal``.
    neighbour_step_mm : mm
        How far below and above a slice its neighbours are, where they are known.

    Returns
    -------
    slices written in each folder

    Raises
    ------
    InfnetError
        If COVID-SemiSeg is missing, a set is empty, a file is refused, ``out`` has such a folder already or
        cannot be written to; then no folder appears.
    """
    if not (data / "covid-semiseg" / LABELLED).is_dir():
        raise DataError(
            f"no {data / 'covid-semiseg' / LABELLED}; expected the data set COVID-SemiSeg in "
            f"{data / 'covid-semiseg'}",
            code=3111,
        )
    makers = _makers(data, neighbour_step_mm)
    return write_folders(makers, out, source=data, about={"neighbour_step_mm": neighbour_step_mm})


def are_public(data: Path) -> bool:
    """Whether a folder holds the public sets, and not own data."""
    return (data / "covid-semiseg").is_dir()


def refuse_own_options(**options: object) -> None:
    """Refuse options that would have no meaning for the public sets.

    Raises
    ------
    DataError
        With their names.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise DataError(
            f"{', '.join(given)} hold for own data, and the folder holds the public sets (covid-semiseg), "
            "whose labels and parts are known; leave them out",
            code=3150,
        )


def _makers(data: Path, step_mm: float) -> dict[str, Callable[[], Iterator[PreparedSlice]]]:
    """What makes the slices of each folder, for the sets that are there."""
    semiseg, manual, enhanced = (
        data / name for name in ("covid-semiseg", "covid-semiseg-manual", "coronacases-slices")
    )
    volumes = [
        folder
        for name in ("radiopaedia-covid-volumes", "radiopaedia-covid-volumes-2")
        if (folder := data / name).is_dir()
    ]
    second = data / "radiopaedia-second-reader"
    healthy, normal = data / "healthy-ct-volumes", data / "iq-othnccd-normal"
    makers: dict[str, Callable[[], Iterator[PreparedSlice]]] = {"labelled": lambda: _labelled(semiseg)}
    if (semiseg / PSEUDO).is_dir():
        makers["pseudo"] = lambda: _pseudo_labelled(semiseg)
    if volumes:
        makers["volumes"] = lambda: (
            one for v in volumes for one in _volumes(v, step_mm, second, _RADIOPAEDIA)
        )
    if enhanced.is_dir() and "pseudo" in makers:
        makers["transferred"] = lambda: transfer_labels(enhanced, semiseg)
    if manual.is_dir() and "pseudo" in makers:
        makers["manual"] = lambda: manual_slices(manual, semiseg, step_mm=step_mm)
    if healthy.is_dir():
        makers["healthy"] = lambda: _volumes(healthy, step_mm)
    if normal.is_dir():
        makers["normal"] = lambda: normal_slices(normal, held_back=False)
        makers["normal-held-back"] = lambda: normal_slices(normal, held_back=True)
    return makers


def transfer_labels(enhanced: Path, semiseg: Path) -> Iterator[PreparedSlice]:
    """Manual labels of contrast-enhanced slices, moved onto the same slices of COVID-SemiSeg.

    The twins show the same plane at half the size with stretched contrast; a COVID-SemiSeg slice is found in
    them by its correlation. Slices without a sure twin are left out; of several twins the most alike counts.

    Parameters
    ----------
    enhanced
        Folder with ``ct`` and ``infection``, names ``coronacases_<case>_<number>.png``.
    semiseg
        Root of COVID-SemiSeg, slices ``..._coronacases_org_<case>_<number>.jpg``.

    Raises
    ------
    DataError
        If a picture is missing or refused.
    """
    slices: dict[str, dict[str, ByteArray]] = {}
    for path in sorted((semiseg / PSEUDO / "Imgs").glob("*coronacases_org_*_*.jpg")):
        if not is_reserved(path.stem):
            case = path.stem.split("_")[-2]
            slices.setdefault(case, {})[path.stem] = upright(read_grey(path), turn_of(path.stem))
    twins: dict[str, tuple[_Twin, Path]] = {}
    for path in sorted((enhanced / "ct").glob("coronacases_*_*.png")):
        if is_reserved(path.stem):
            continue
        twin = _find_twin(read_grey(path), slices.get(path.stem.split("_")[1], {}))
        if twin and twin.correlation >= _TWIN_CORRELATION:
            other = twins.get(twin.name)
            if other is None or twin.correlation > other[0].correlation:
                twins[twin.name] = twin, path
    for name, (twin, path) in sorted(twins.items()):
        grey = slices[name.split("_")[-2]][name]
        _, small = read_pair(path, enhanced / "infection" / path.name)
        large = cv2.resize(
            small, None, fx=_TWIN_REDUCTION, fy=_TWIN_REDUCTION, interpolation=cv2.INTER_LINEAR
        )
        part = large[twin.row : twin.row + grey.shape[0], twin.column : twin.column + grey.shape[1]]
        if part.shape == grey.shape:  # a slice of odd size may reach a pixel beyond its twin
            infection = np.where(part > 127, 255, 0).astype(np.uint8)
            yield PreparedSlice(name, regraded(grey, name), infection)


def _find_twin(image: ByteArray, slices: dict[str, ByteArray]) -> _Twin | None:
    """The slice most like an enhanced image, if there is one that fits into it."""
    best: _Twin | None = None
    for name, full in slices.items():
        size = (full.shape[1] // _TWIN_REDUCTION, full.shape[0] // _TWIN_REDUCTION)
        template = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        if template.shape[0] > image.shape[0] or template.shape[1] > image.shape[1]:
            continue
        if template.min() == template.max():  # OpenCV gives it the correlation 1 with everything
            continue
        scores = cv2.matchTemplate(image, template, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(scores)
        if best is None or score > best.correlation:
            best = _Twin(float(score), name, y * _TWIN_REDUCTION, x * _TWIN_REDUCTION)
    return best


def _labelled(semiseg: Path) -> Iterator[PreparedSlice]:
    classified = (semiseg / MULTI_CLASS).is_dir()
    for path in _open_slices(semiseg / LABELLED):
        pair = upright_pair(path, "transpose")
        yield replace(pair, classes=_classes_of(semiseg, pair)) if classified else pair


def _classes_of(semiseg: Path, one: PreparedSlice) -> ByteArray:
    """Of a labelled slice; the set has a folder of its own for them."""
    path = class_mask_of(semiseg / MULTI_CLASS / "Imgs" / f"{one.name}.jpg", "GT")
    classes = upright(read_classes(path), "transpose")
    check_size(path, classes, one.infection)
    return within_infection(classes, one.infection > INFECTED, path)


def _pseudo_labelled(semiseg: Path) -> Iterator[PreparedSlice]:
    for path in _open_slices(semiseg / PSEUDO):
        pair = upright_pair(path, turn_of(path.stem))
        yield PreparedSlice(pair.name, regraded(pair.grey, pair.name), pair.infection)


def _open_slices(folder: Path) -> list[Path]:
    return [path for path in slices_in(folder) if not is_reserved(path.stem)]


def _volumes(
    folder: Path,
    step_mm: float,
    second_readers: Path | None = None,
    meaning: LabelMeaning | None = None,
) -> Iterator[PreparedSlice]:
    for ct in sorted(folder.glob("*_ct.nii.gz")):
        if not is_reserved(ct.name):
            case = ct.name.removesuffix("_ct.nii.gz")
            lungs = folder / f"{case}_lung.nii.gz"
            second = second_readers / f"{case}_infection2.nii.gz" if second_readers else None
            yield from slices_of_volume(
                ct,
                folder / f"{case}_infection.nii.gz",
                lungs if lungs.is_file() else None,
                second_reader=second if second and second.is_file() else None,
                neighbour_step_mm=step_mm,
                meaning=meaning,
            )
