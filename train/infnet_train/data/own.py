"""A user's own labelled slices or volumes in the form that training reads, split by patient.

The slices come out as the network sees them at inference: cut at the lungs, masks 0 and 255. Pictures have to
be 8-bit grey in the lung window; volumes are brought there. ``docs/own-data.md`` is the page for users.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.nifti import read_labels
from infnet_runtime.lungs import find_lungs, lung_box
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_train.data.classes import IGNORED, as_numbers, class_levels, classes_by
from infnet_train.data.masks import LabelMeaning, Levels, levels_of, read_mask
from infnet_train.data.neighbours import NEIGHBOUR_STEP_MM
from infnet_train.data.pictures import (
    EXPECTED,
    INFECTED,
    LAYOUTS,
    VOLUMES,
    DataError,
    Turn,
    check_size,
    image_folder,
    mask_name,
    mask_of,
    read_grey,
    read_stored,
    slices_in,
    upright,
)
from infnet_train.data.prepared import PreparedSlice, write_folders
from infnet_train.data.volumes import slices_of_volume

logger = logging.getLogger(__name__)

_NOMINAL_MM = (1.0, 1.0, 1.0)  # as the runtime takes for pictures
_LARGEST_SHARE = 0.5  # of a whole volume; both lungs are a fifth


@dataclass(frozen=True)
class OwnData:
    """What is to be prepared, and how it is to be read.

    Parameters
    ----------
    pairs
        Scan or picture, and its mask.
    turn
        What turns pictures upright; volumes say themselves how they lie.
    """

    source: Path
    pairs: tuple[tuple[Path, Path], ...]
    meaning: LabelMeaning
    turn: Turn = "none"
    neighbour_step_mm: float = NEIGHBOUR_STEP_MM

    @property
    def are_volumes(self) -> bool:
        """Whether NIfTI files were given."""
        return self.pairs[0][0].name.endswith(VOLUMES)


@dataclass(frozen=True)
class Split:
    """Shares of the patients that do not train: 0..1."""

    validation: float = 0.0
    test: float = 0.0

    def parts(self, patients: Sequence[str]) -> dict[str, list[str]]:
        """Patients of ``train``, ``validation`` and ``test``, by a hash of their names: always the same.

        Raises
        ------
        DataError
            If nobody would be left to train on.

        Examples
        --------
        >>> {part: len(names) for part, names in Split(0.2, 0.2).parts([f"p{i}" for i in range(10)]).items()}
        {'train': 6, 'validation': 2, 'test': 2}
        """
        order = sorted(set(patients), key=lambda name: hashlib.sha256(name.encode()).digest())
        counts = {
            part: max(1, round(share * len(order)))
            for part, share in (("validation", self.validation), ("test", self.test))
            if share > 0
        }
        if sum(counts.values()) >= len(order):
            raise DataError(
                f"{len(order)} patients ({', '.join(order[:4])}, ...) cannot be split into training and "
                f"{' and '.join(counts) or 'nothing'}; expected at least {len(counts) + 1}. Name pictures "
                "PATIENT_NUMBER.png, or take smaller shares",
                code=3149,
            )
        parts, start = {}, 0
        for part, count in counts.items():
            parts[part] = order[start : start + count]
            start += count
        return {"train": order[start:], **parts}


def _pairs_in(folder: Path) -> tuple[tuple[Path, Path], ...]:
    """Scans or pictures of a folder with their masks."""
    if not any((folder / name).is_dir() for name in LAYOUTS):
        raise DataError(
            f"{folder} holds neither the public sets (covid-semiseg) nor own data; expected {EXPECTED}, with "
            "pictures or NIfTI volumes, as in docs/own-data.md",
            code=3111,
        )
    images = image_folder(folder)
    volumes = sorted(path for path in images.glob("*") if path.name.endswith(VOLUMES))
    if not volumes:
        return tuple((path, mask_of(path)) for path in slices_in(folder))
    masks = folder / LAYOUTS[images.name]
    return tuple((path, _volume_mask(path, masks)) for path in volumes)


def _volume_mask(image: Path, masks: Path) -> Path:
    """The mask of a volume: of the same name, without the number of the channel."""
    name = image.name.split(".")[0]
    for stem in dict.fromkeys((name, mask_name(name))):
        for ending in VOLUMES:
            if (path := masks / f"{stem}{ending}").is_file():
                return path
    raise DataError(f"{image} has no mask: expected {masks / mask_name(name)}.nii.gz", code=3112)


def prepare_own(own: OwnData, out: Path, split: Split) -> dict[str, int]:
    """Write ``train`` and, if asked for, ``validation`` and ``test`` below ``out``.

    Returns
    -------
    slices written in each folder

    Raises
    ------
    InfnetError
        If a file is refused, labels can mean several things, patients cannot be split, or ``out`` has such a
        folder already; then no folder appears.
    """
    if own.are_volumes:
        _refuse_unclear(own)
    if own.meaning.has_classes:
        _say_what_is_unnamed(own)
    by_patient: dict[str, list[tuple[Path, Path]]] = {}
    for image, mask in own.pairs:
        by_patient.setdefault(patient_of(image), []).append((image, mask))
    parts = split.parts(tuple(by_patient))
    make = _volume_slices if own.are_volumes else _picture_slices

    def made(patients: list[str]) -> Iterator[PreparedSlice]:
        return (one for name in sorted(patients) for one in make(own, by_patient[name]))

    makers: dict[str, Callable[[], Iterator[PreparedSlice]]] = {
        part: partial(made, patients) for part, patients in parts.items()
    }
    about: dict[str, object] = {"patients": parts}
    if own.are_volumes:
        about["neighbour_step_mm"] = own.neighbour_step_mm
    return write_folders(makers, out, source=own.source, about=about)


def patient_of(image: Path) -> str:
    """Whose slice or scan a file is: a volume is a patient, pictures end with the number of the slice.

    Examples
    --------
    >>> patient_of(Path("p07_012.png")), patient_of(Path("12.png")), patient_of(Path("p07_1_0000.nii.gz"))
    ('p07', '12', 'p07_1')
    """
    name = mask_name(image.name.split(".")[0])
    if image.name.endswith(VOLUMES):
        return name
    return re.sub(r"[-_ ]\d+$", "", name)


def _refuse_unclear(own: OwnData) -> None:
    """Refuse volumes of one name, several labels of which nobody said what they are, and inverted masks."""
    names = [patient_of(image) for image, _ in own.pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{', '.join(twice)} is the name of several volumes, and their slices would replace each other; "
            "expected one name for each patient, such as p07.nii.gz",
            code=3150,
        )
    found: dict[int, str] = {}
    for _, mask in own.pairs:
        labels = read_labels(mask)[1]
        for value in np.unique(labels).tolist():
            found.setdefault(value, mask.name)
        if own.meaning.of(labels)[0].mean() > _LARGEST_SHARE:
            raise DataError(
                f"{mask} marks more than half of the volume as infection, expected a part of the lungs; "
                "it is inverted or no mask: say which label is infection by --infection",
                code=3145,
            )
    unnamed = sorted(set(found) - {0} - set(own.meaning.ignored))
    if len(unnamed) > 1 and not own.meaning.infected:
        shown = ", ".join(f"{value} ({found[value]})" for value in unnamed[:8])
        raise DataError(
            f"the masks hold the labels {shown}, expected one; say which are infection by --infection and "
            "which do not count by --ignore, or of which class they are by --ground-glass and "
            "--consolidation",
            code=3144,
        )


def _say_what_is_unnamed(own: OwnData) -> None:
    """Labels that nobody named where classes were, and named ones that no mask has; colours are refused."""
    found: dict[int, str] = {}
    for _, mask in own.pairs:
        labels = read_labels(mask)[1] if own.are_volumes else _numbers(mask)
        for value in np.unique(labels).tolist():
            found.setdefault(value, mask.name)
    named = {*own.meaning.infected, *own.meaning.ignored}
    unnamed = sorted(set(found) - {0} - named)
    if unnamed and unnamed[-1] > IGNORED and not own.are_volumes:
        raise DataError(
            f"{found[unnamed[-1]]} has a colour that is no number of the palette of class masks, expected "
            "numbers, or (128, 0, 0) for 1, (0, 128, 0) for 2 and (128, 128, 0) for 3; write the labels as "
            "numbers",
            code=3164,
        )
    if unnamed:
        logger.warning(
            "labels that were not named are taken as healthy: %s; infection of unknown class is named by "
            "--infection",
            ", ".join(f"{value} ({found[value]})" for value in unnamed[:8]),
        )
    absent = sorted(named - set(found))
    if absent:
        logger.warning("no mask has the label %s that was named", ", ".join(map(str, absent)))


def _numbers(mask: Path) -> Levels:
    """Labels of a picture, its colours as their numbers."""
    return as_numbers(class_levels(mask))


def _volume_slices(own: OwnData, pairs: Sequence[tuple[Path, Path]]) -> Iterator[PreparedSlice]:
    for image, mask in pairs:
        yield from slices_of_volume(image, mask, neighbour_step_mm=own.neighbour_step_mm, meaning=own.meaning)


def _picture_slices(own: OwnData, pairs: Sequence[tuple[Path, Path]]) -> Iterator[PreparedSlice]:
    """Pictures of a patient, those of one size cut at the same box."""
    read = [_read_picture(own, image, mask) for image, mask in pairs]
    for _, same in groupby(
        sorted(read, key=lambda one: (one.grey.shape, one.name)), key=lambda one: one.grey.shape
    ):
        slices = list(same)
        box = _box([one.grey for one in slices], [one.infected for one in slices])
        for one in slices:
            yield PreparedSlice(
                one.name,
                np.ascontiguousarray(one.grey[box]),
                _as_bytes(one.infected[box]),
                _as_bytes(one.ignored[box]) if one.ignored[box].any() else None,
                classes=None if one.classes is None else np.ascontiguousarray(one.classes[box]),
            )


@dataclass(frozen=True, eq=False)
class _Picture:
    """An upright picture and what its mask says, (rows, columns) each; classes only where they were named."""

    name: str
    grey: ByteArray
    infected: BoolArray
    ignored: BoolArray
    classes: ByteArray | None = None


def _read_picture(own: OwnData, image: Path, mask: Path) -> _Picture:
    grey, classes = read_grey(image), None
    if own.meaning == LabelMeaning():
        infected = read_mask(mask) > INFECTED
        ignored = np.zeros_like(infected)
    elif own.meaning.has_classes:
        labels = _numbers(mask)
        (infected, ignored), classes = own.meaning.of(labels), classes_by(own.meaning, labels)
    else:
        infected, ignored = own.meaning.of(levels_of(read_stored(mask), mask))
    check_size(image, grey, infected)
    return _Picture(
        image.stem,
        upright(grey, own.turn),
        upright_mask(infected, own.turn),
        upright_mask(ignored, own.turn),
        None if classes is None else upright(classes, own.turn),
    )


def upright_mask(mask: BoolArray, turn: Turn) -> BoolArray:
    """A mask turned as its slice."""
    return upright(mask.view(np.uint8), turn).view(np.bool_)


def _box(greys: Sequence[ByteArray], infected: Sequence[BoolArray]) -> tuple[slice, slice]:
    """Around lungs and infection of all slices; the whole picture where no lung is found."""
    lungs = [find_lungs(grey[None], _NOMINAL_MM, Intensity.WINDOWED)[0] > 0 for grey in greys]
    if not any(lung.any() for lung in lungs):
        logger.warning("no lung was found in %d pictures; they are taken whole", len(greys))
        return slice(None), slice(None)
    marked = np.stack([lung | mask for lung, mask in zip(lungs, infected, strict=True)])
    return lung_box(marked, _NOMINAL_MM, PreprocessSpec().crop_margin_mm)


def _as_bytes(mask: BoolArray) -> ByteArray:
    return np.where(mask, 255, 0).astype(np.uint8)


def own_data(
    data: Path | None,
    volumes: Sequence[Path],
    masks: Sequence[Path],
    meaning: LabelMeaning,
    turn: Turn,
    neighbour_step_mm: float,
) -> OwnData:
    """What a user gave: a folder, or volumes and their masks in the same order.

    Raises
    ------
    DataError
        If it is neither, or masks are missing.
    """
    if data is None:
        if not volumes or len(volumes) != len(masks):
            raise DataError(
                f"{len(volumes)} times --volume and {len(masks)} times --mask without a folder of data, "
                "expected one mask for each volume; or give a folder",
                code=3150,
            )
        for path in (*volumes, *masks):
            if not path.name.endswith(VOLUMES) or not path.is_file():
                raise DataError(f"{path} is no NIfTI file, expected .nii or .nii.gz", code=3150)
        pairs, source = tuple(zip(volumes, masks, strict=True)), volumes[0].parent
    else:
        if volumes or masks:
            raise DataError(f"--volume and --mask stand in place of {data}; give one of both", code=3150)
        pairs, source = _pairs_in(data), data
    return OwnData(source, pairs, meaning, turn, neighbour_step_mm)
