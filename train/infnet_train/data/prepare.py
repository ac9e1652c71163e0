"""One training folder from the public sets: upright slices in one grey scale, reserved cases left out.

Each set has its own orientation, grey scale and file kind; after :func:`prepare` a recipe sees folders with
``Imgs`` and ``GT`` that differ in nothing but where their labels come from.
"""

import logging
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import OutputError
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.io.lung_masks import read_lungs
from infnet_runtime.io.nifti import read_nifti, read_stored
from infnet_runtime.io.png import png_bytes
from infnet_runtime.lungs import find_lungs, lung_box, slices_with_lung
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import refuse_non_finite
from infnet_runtime.slices.preprocess import to_grey
from infnet_train.data.pictures import DataError, Turn, read_grey, read_pair, slices_in, upright
from infnet_train.data.reserved import is_reserved

logger = logging.getLogger(__name__)

# Grey levels of each coronacases volume of COVID-SemiSeg that become 0 and 255: lines through the modes of
# healthy lung and soft tissue, which stand at 46 and 214.5 in the labelled slices (docs/contract.md).
_CORONACASES_GREY = {
    "coronacases_org_001": (-5.2, 119.4),
    "coronacases_org_002": (-4.4, 110.1),
    "coronacases_org_003": (-5.1, 106.3),
    "coronacases_org_004": (-9.4, 125.1),
    "coronacases_org_005": (-9.7, 124.0),
    "coronacases_org_006": (-5.0, 108.5),
}
_LABELLED = Path("TrainingSet/LungInfection-Train/Doctor-label")
_PSEUDO = Path("TrainingSet/LungInfection-Train/Pseudo-label")
# The enhanced slices have half the pixels of the volumes they were made from, on each side.
_TWIN_REDUCTION = 2
# Correlation of a slice with its enhanced twin. Twins reach 0.73 to 0.94, the slices beside them up to 0.92
# but less than the twin, and slices of volumes without a twin 0.56 at most.
_TWIN_CORRELATION = 0.75
# Programs that write the same grid differ by float32 rounding of the affine.
_SAME_PLACE_MM = 0.1


@dataclass(frozen=True, eq=False)
class PreparedSlice:
    """One upright slice, 8-bit grey as the labelled slices have it, and its infection 0..255."""

    name: str
    grey: ByteArray
    infection: ByteArray


@dataclass(frozen=True)
class _Twin:
    """Where an enhanced slice shows a slice of COVID-SemiSeg; the corner in pixels of the latter."""

    correlation: float
    name: str
    row: int
    column: int


def prepare(data: Path, out: Path) -> dict[str, int]:
    """Write ``labelled``, ``pseudo``, ``volumes`` and ``transferred`` below ``out``, if their sets are there.

    The folders take their names when all of them are complete. Until then they are in a hidden
    ``.infnet-*.part``, which is removed after an error and remains only where the process is killed.

    Parameters
    ----------
    data
        Holds ``covid-semiseg`` (needed), ``radiopaedia-covid-volumes`` and ``coronacases-slices``.

    Returns
    -------
    slices written in each folder

    Raises
    ------
    InfnetError
        If COVID-SemiSeg is missing, a set is empty, a file is refused, ``out`` has such a folder already or
        cannot be written to; then no folder appears.
    """
    semiseg, volumes, enhanced = (
        data / name for name in ("covid-semiseg", "radiopaedia-covid-volumes", "coronacases-slices")
    )
    if not (semiseg / _LABELLED).is_dir():
        raise DataError(
            f"no {semiseg / _LABELLED}; expected the data set COVID-SemiSeg in {semiseg}", code=3111
        )
    makers: dict[str, Callable[[], Iterator[PreparedSlice]]] = {"labelled": lambda: _labelled(semiseg)}
    if (semiseg / _PSEUDO).is_dir():
        makers["pseudo"] = lambda: _pseudo_labelled(semiseg)
    if volumes.is_dir():
        makers["volumes"] = lambda: _volumes(volumes)
    if enhanced.is_dir() and "pseudo" in makers:
        makers["transferred"] = lambda: transfer_labels(enhanced, semiseg)
    _refuse_existing([out / name for name in makers])
    part = prepare_folder(out) / f".infnet-{secrets.token_hex(8)}.part"
    try:
        counts = {name: _write(part / name, maker()) for name, maker in makers.items()}
        empty = [name for name, count in counts.items() if not count]
        if empty:
            raise DataError(
                f"no slices for {', '.join(empty)} in {data}; complete the set, or take its folder away",
                code=3111,
            )
        _refuse_existing([out / name for name in makers])
        for name in makers:
            _rename(part / name, out / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return counts


def slices_of_volume(
    ct: Path, infection: Path, lungs: Path | None = None, spec: PreprocessSpec | None = None
) -> Iterator[PreparedSlice]:
    """The slices of a volume that hold lung, cropped to the lungs as at inference, healthy ones too.

    Parameters
    ----------
    ct, infection, lungs
        NIfTI files on one grid; every label but 0 is infection. Lungs are found where none are given.

    Raises
    ------
    InfnetError
        If a file is missing or refused, or the grids differ.
    """
    spec = spec or PreprocessSpec()
    if not infection.is_file():
        raise DataError(f"{ct} has no mask: expected {infection}", code=3112)
    scan = read_nifti(ct).volume
    _, geometry, labels = read_stored(infection)
    if labels.shape != scan.voxels.shape or not np.allclose(
        geometry.affine, scan.affine, atol=_SAME_PLACE_MM
    ):
        raise DataError(
            f"{infection} {labels.shape} and {ct} {scan.voxels.shape} lie on different grids; "
            "resample the labels to the scan",
            code=3113,
        )
    refuse_non_finite(labels, infection.name)
    voxels, infected = scan.to_lps(), scan.to_lps(labels)
    spacing_mm = scan.lps_spacing_mm
    if lungs is None:
        lung_labels = find_lungs(voxels, spacing_mm, scan.intensity)
    else:
        lung_labels = read_lungs(lungs, scan).to_lps()
    rows, columns = lung_box(lung_labels, spacing_mm, spec.crop_margin_mm)
    name = ct.name.split(".")[0].removesuffix("_ct")
    for k in slices_with_lung(lung_labels):
        grey = to_grey(voxels[k, rows, columns], scan.intensity, spec)
        mask = np.where(infected[k, rows, columns] != 0, 255, 0).astype(np.uint8)
        yield PreparedSlice(f"{name}_{k:03d}", np.rint(grey * 255).astype(np.uint8), mask)


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
    for path in sorted((semiseg / _PSEUDO / "Imgs").glob("*coronacases_org_*_*.jpg")):
        if not is_reserved(path.stem):
            case = path.stem.split("_")[-2]
            slices.setdefault(case, {})[path.stem] = upright(read_grey(path), _turn(path.stem))
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
            yield PreparedSlice(name, _regraded(grey, name), infection)


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
    for path in _open_slices(semiseg / _LABELLED):
        yield _upright_pair(path, "transpose")


def _pseudo_labelled(semiseg: Path) -> Iterator[PreparedSlice]:
    for path in _open_slices(semiseg / _PSEUDO):
        pair = _upright_pair(path, _turn(path.stem))
        yield PreparedSlice(pair.name, _regraded(pair.grey, pair.name), pair.infection)


def _open_slices(folder: Path) -> list[Path]:
    return [path for path in slices_in(folder) if not is_reserved(path.stem)]


def _volumes(folder: Path) -> Iterator[PreparedSlice]:
    for ct in sorted(folder.glob("*_ct.nii.gz")):
        if not is_reserved(ct.name):
            case = ct.name.removesuffix("_ct.nii.gz")
            lungs = folder / f"{case}_lung.nii.gz"
            yield from slices_of_volume(
                ct, folder / f"{case}_infection.nii.gz", lungs if lungs.is_file() else None
            )


def _upright_pair(image: Path, turn: Turn) -> PreparedSlice:
    grey, infection = read_pair(image)
    return PreparedSlice(image.stem, upright(grey, turn), upright(infection, turn))


def _turn(name: str) -> Turn:
    return "transpose_flip" if "coronacases" in name else "transpose"


def _regraded(grey: ByteArray, name: str) -> ByteArray:
    for case, (low, high) in _CORONACASES_GREY.items():
        if case in name:
            return np.asarray(np.rint(np.clip((grey - low) / (high - low), 0, 1) * 255), np.uint8)
    return grey


def _refuse_existing(folders: list[Path]) -> None:
    taken = [str(folder) for folder in folders if folder.exists()]
    if taken:
        raise DataError(f"{', '.join(taken)} exist already; give another --out or remove them", code=3115)


def _write(folder: Path, slices: Iterator[PreparedSlice]) -> int:
    count = 0
    for one in slices:
        for kind, pixels in (("Imgs", one.grey), ("GT", one.infection)):
            with atomic_write(prepare_folder(folder / kind) / f"{one.name}.png") as file:
                file.write(png_bytes(pixels))
        count += 1
    logger.info("%s: %d slices", folder.name, count)
    return count


def _rename(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError as error:
        raise OutputError(
            f"cannot give {folder} its name: {error.strerror or error}; choose another --out", code=8007
        ) from error
