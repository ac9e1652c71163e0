"""Masks of training slices: what their values mean, and slices read together with them.

People store masks as 0 and 255, as 0 and 1, as one colour on black, or as grey that says how sure a label is.
One picture cannot tell which: an empty mask looks the same in all of them. So the values of all masks of a
folder decide together, and a folder whose values can mean several things is refused.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.metrics import LabelledSlice
from infnet_train.data.pictures import (
    INFECTED,
    DataError,
    Turn,
    check_size,
    grey_of,
    is_coloured,
    mask_of,
    pictures_in,
    read_grey,
    read_stored,
    slices_in,
    upright,
)
from infnet_train.data.upright import lie_of_files, warn_if_sideways

logger = logging.getLogger(__name__)

Levels = npt.NDArray[np.int32]
"""Values of a mask as numbers: 0..255 where it is grey, above for each colour."""

# A label map has few values, and grey that says how sure a label is has dozens in a folder.
_MOST_LABELS = 8
# Values as close to 255 as this are 255 after rounding somewhere.
_NEARLY_WHITE = 248
# What a JPEG of a mask has at borders alone.
_BETWEEN = (48, 208)
# Infection never reaches the border of a lung crop for long: at most .06 of it in the public sets.
_BORDER_SHARE = 0.5


@dataclass(frozen=True)
class MaskScale:
    """What the values of the masks of a folder mean.

    Parameters
    ----------
    label
        The one value that is infection; None where the grey 0..255 says how sure the label is, as 0 and 255
        do.
    """

    label: int | None = None

    def labels(self, levels: Levels) -> ByteArray:
        """Levels (rows, columns) as labels 0..255."""
        if self.label is None:
            return levels.astype(np.uint8)
        return np.where(levels == self.label, 255, 0).astype(np.uint8)


@dataclass(frozen=True)
class LabelMeaning:
    """Which labels of a label map are infection, and which are to be ignored; said by the user.

    Parameters
    ----------
    infection
        Every label but 0 and the ignored ones where empty. Labels in neither are not infection.
    ignored
        Pixels that count neither as infected nor as healthy.
    ground_glass, consolidation
        Labels that are infection of that class; those of ``infection`` are of unknown class then.

    Raises
    ------
    DataError
        If one label is to be two things.
    """

    infection: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    ground_glass: tuple[int, ...] = ()
    consolidation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        classes = (self.ground_glass, self.consolidation, self.infection, self.ignored)
        named = [label for labels in classes for label in set(labels)]
        twice = sorted({label for label in named if named.count(label) > 1 or label == 0})
        if self.has_classes and twice:
            raise DataError(
                f"label {', '.join(map(str, twice))} is 0, or was named as more than one of ground glass, "
                "consolidation, infection of unknown class and ignored; expected one meaning for each label",
                code=3168,
            )

    @property
    def has_classes(self) -> bool:
        """Whether labels say ground glass or consolidation."""
        return bool(self.ground_glass or self.consolidation)

    @property
    def infected(self) -> tuple[int, ...]:
        """Labels that are infection, of whatever class."""
        return (*self.infection, *self.ground_glass, *self.consolidation)

    def of(self, labels: AnyArray) -> tuple[BoolArray, BoolArray]:
        """Infection, and what is to be ignored."""
        ignored = np.isin(labels, self.ignored) if self.ignored else np.zeros(labels.shape, np.bool_)
        infected = np.isin(labels, self.infected) if self.infected else (labels != 0) & ~ignored
        return np.asarray(infected, np.bool_), np.asarray(ignored, np.bool_)


@dataclass(frozen=True)
class MaskValues:
    """What was found in the masks of a folder, for :func:`scale_of`.

    Parameters
    ----------
    values
        Those that occur, but 0, each with the first file that has it.
    borders
        For each mask the values on its border and how often each is there, as shares of 1.
    """

    values: dict[int, str]
    borders: tuple[dict[int, float], ...]


def read_mask(path: Path, *, soft: bool = False) -> ByteArray:
    """Labels 0..255 of a mask, read as the masks of its folder are stored.

    Parameters
    ----------
    soft
        The grey says how sure the label is, whatever values there are.

    Returns
    -------
    (rows, columns)

    Raises
    ------
    DataError
        If the file is refused, or the masks of the folder can mean several things.
    """
    levels = levels_of(read_stored(path), path)
    scale = MaskScale() if soft else folder_scale(path.parent)
    return scale.labels(levels)


def read_pair(image: Path, mask: Path | None = None, *, soft: bool = False) -> tuple[ByteArray, ByteArray]:
    """Read a slice and its mask.

    Parameters
    ----------
    mask
        The one beside the slice where absent.
    soft
        As of :func:`read_mask`.

    Returns
    -------
    grey and labels (rows, columns), 0..255, not turned

    Raises
    ------
    DataError
        If the mask is missing, the sizes differ, or a file is refused.
    """
    mask = mask or mask_of(image)
    grey, labels = read_grey(image), read_mask(mask, soft=soft)
    check_size(image, grey, labels)
    return grey, labels


def read_labelled(folder: Path, turn: Turn) -> Iterator[LabelledSlice]:
    """Upright slices with their truth, each at its own size.

    Whether the lungs lie side by side is looked at in some of them, and said if not.

    Raises
    ------
    DataError
        If there is no slice, a mask is missing, sizes differ, or a file is refused.
    """
    images = slices_in(folder)
    warn_if_sideways(lie_of_files(images, turn), str(folder), turn)
    return (_labelled(path, turn) for path in images)


def _labelled(path: Path, turn: Turn) -> LabelledSlice:
    image, mask = read_pair(path)
    return path.stem, upright(image, turn), upright(mask, turn) > INFECTED


def levels_of(stored: AnyArray, path: Path) -> Levels:
    """The values of a mask as :func:`~infnet_train.data.pictures.read_stored` gives it.

    Raises
    ------
    DataError
        If it has 16 bits that are more than 8, more colours than labels, or its labels in the transparency.
    """
    if stored.dtype == np.uint16 and stored.ndim == 2:
        found = np.unique(stored)
        if found[-1] <= 255:
            return stored.astype(np.int32)
        if set(found.tolist()) <= {0, 65535}:
            return np.where(stored > 0, 255, 0).astype(np.int32)
    if stored.dtype != np.uint8 or not is_coloured(stored):
        if is_transparency(stored):
            raise DataError(
                f"{path} has one colour and a transparency that differs, expected a mask in grey; convert it",
                code=3134,
            )
        grey = grey_of(stored, path)
        if path.suffix.lower() != ".png" and grey.max() > INFECTED:
            grey = _without_ringing(grey, path)
        return grey.astype(np.int32)
    levels = levels_by_colour(stored)
    if len(np.unique(levels)) > _MOST_LABELS:
        raise DataError(f"{path} is in colour, expected 8-bit grey, 0..255; convert it", code=3134)
    return levels


def levels_by_colour(stored: AnyArray) -> Levels:
    """Grey as it is, and a number above 255 for each colour: 256 + blue + 256 * (green + 256 * red)."""
    if stored.ndim == 2:
        return stored.astype(np.int32)
    blue, green, red = (stored[..., i].astype(np.int32) for i in range(3))
    levels = np.where((blue == green) & (green == red), blue, 256 + blue + 256 * (green + 256 * red))
    return np.asarray(levels, np.int32)


def _without_ringing(grey: ByteArray, path: Path) -> ByteArray:
    """A JPEG of a mask cut at half: its values waver around 0 and 255, and lie between at borders alone."""
    low, high = _BETWEEN
    between = ((grey >= low) & (grey <= high)).astype(np.uint8)
    if cv2.erode(between, np.ones((5, 5), np.uint8), borderValue=0).any():
        raise DataError(
            f"{path} is a JPEG with an area between {low} and {high}, expected 0 and 255 alone; store labels "
            "that say how sure they are as PNG",
            code=3144,
        )
    return np.where(grey > INFECTED, 255, 0).astype(np.uint8)


def is_transparency(stored: AnyArray) -> bool:
    """Whether the labels lie in the fourth channel alone."""
    if stored.ndim != 3 or stored.shape[2] != 4:
        return False
    return bool(np.ptp(stored[..., 0]) == 0 and np.ptp(stored[..., 3]) > 0)


def folder_scale(folder: Path) -> MaskScale:
    """What the values of the masks in a folder mean, by all of them.

    Raises
    ------
    DataError
        If they can mean several things, or look inverted.
    """
    masks = pictures_in(folder)
    return _scale_of_files(folder, tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in masks))


@lru_cache(maxsize=64)
def _scale_of_files(folder: Path, files: tuple[tuple[str, int, int], ...]) -> MaskScale:
    def readable() -> Iterator[tuple[str, Levels]]:
        for name, _, _ in files:
            try:
                yield name, levels_of(read_stored(folder / name), folder / name)
            except DataError:  # said when its slice is read
                continue

    scale = scale_of(mask_values(readable()), folder)
    if scale.label is not None:
        logger.warning("%s", label_text(scale.label, folder))
    return scale


def label_text(label: int, folder: Path) -> str:
    """How a folder with one label other than 255 is read, for people."""
    what = str(label) if label < 256 else "one colour"
    return f"masks in {folder} hold no label but {what}: it is read as infection, as 255 would be"


def mask_values(masks: Iterable[tuple[str, Levels]]) -> MaskValues:
    """What is found in some masks, given with their names."""
    values: dict[int, str] = {}
    borders = []
    for name, levels in masks:
        for value in _found(levels)[0]:
            values.setdefault(value, name)
        border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
        found, counts = _found(border)
        borders.append({value: count / border.size for value, count in zip(found, counts, strict=True)})
    values.pop(0, None)
    return MaskValues(values, tuple(borders))


def _found(levels: Levels) -> tuple[list[int], list[int]]:
    if levels.size and levels.max() < 256:  # much faster than sorting
        counts = np.bincount(levels.ravel(), minlength=256)
        found = np.flatnonzero(counts)
        return found.tolist(), counts[found].tolist()
    values, numbers = np.unique(levels, return_counts=True)
    return values.tolist(), numbers.tolist()


def scale_of(found: MaskValues, folder: Path) -> MaskScale:
    """What the values of some masks mean.

    Parameters
    ----------
    folder
        Of the masks, for messages.

    Raises
    ------
    DataError
        If they can mean several things, or look inverted.
    """
    scale = MaskScale(_label_of(found.values, folder))

    def is_marked(border: dict[int, float]) -> bool:
        marked = sum(share for v, share in border.items() if _is_infection(v, scale))
        return marked > _BORDER_SHARE

    inverted = sum(map(is_marked, found.borders))
    if inverted > len(found.borders) / 2:
        raise DataError(
            f"{inverted} of {len(found.borders)} masks in {folder} mark more than half of the border of the "
            "slice as infection, expected infection within the lungs; they are inverted or no masks: turn "
            "infection into 255 and everything else into 0",
            code=3145,
        )
    return scale


def _is_infection(value: int, scale: MaskScale) -> bool:
    return value > INFECTED if scale.label is None else value == scale.label


def _label_of(first: dict[int, str], folder: Path) -> int | None:
    """The only label of some masks, None for grey that says how sure a label is.

    Parameters
    ----------
    first
        The values that occur, but 0, each with a file that has it.

    Raises
    ------
    DataError
        If they can mean several things.
    """
    values = sorted(first)
    if len(values) == 1 and values != [255]:
        return values[0]
    if all(_NEARLY_WHITE <= value < 256 for value in values):
        return None
    if len(values) <= _MOST_LABELS or values[-1] > 255:
        shown = ", ".join(
            f"{value if value < 256 else 'a colour'} ({first[value]})" for value in values[:_MOST_LABELS]
        )
        raise DataError(
            f"masks in {folder} hold the labels {shown} besides 0, expected one label, or 0 to 255; write "
            "infection as 255 and the rest as 0 (infnet-train data prepare --infection says which labels are "
            "infection and --ignore which do not count), or set soft_labels = true in the source if they say "
            f"how sure a label is{_class_hint(values, folder)}",
            code=3144,
        )
    if values[-1] <= INFECTED:
        raise DataError(
            f"masks in {folder} hold no label above {values[-1]}, expected 0..255 with infection above "
            f"{INFECTED}; all of them would count as empty. Write them again with infection as 255, or set "
            "soft_labels = true in the source",
            code=3135,
        )
    return None


def _class_hint(values: list[int], folder: Path) -> str:
    """What else labels could be: classes, as numbers or as colours (``classes``)."""
    if values[-1] < 256 and not set(values) <= {1, 2, 3, 255}:
        return ""
    return f', or classes = "{folder.name}" if 1 is ground glass and 2 consolidation'
