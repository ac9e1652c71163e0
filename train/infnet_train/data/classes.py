"""Class masks of training slices: which infected pixels are ground glass and which consolidation.

They are stored as numbers, as the colours of the PASCAL VOC palette (COVID-SemiSeg), or as the grey that
other programs make of these colours. The values of all class masks of a folder decide together which it is;
anything else is refused, because a class that is guessed looks like one that was drawn. Everywhere in this
package a pixel has one of the numbers below.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_train.data.masks import LabelMeaning, Levels, is_transparency, levels_by_colour, read_pair
from infnet_train.data.pictures import (
    INFECTED,
    DataError,
    check_size,
    is_coloured,
    mask_name,
    mask_of,
    pictures_in,
    read_grey,
    read_stored,
)

BACKGROUND, GROUND_GLASS, CONSOLIDATION = 0, 1, 2
UNKNOWN = 3
"""Infection of unknown class: it counts for the infection, and for no class."""
IGNORED = 255
"""A pixel that counts for nothing."""

FOLDER = "Classes"
"""Where prepared data have their class masks, beside ``Imgs`` and ``GT``."""

ClassResize = Literal["nearest", "bilinear"]

_LABELS = (GROUND_GLASS, CONSOLIDATION, UNKNOWN, IGNORED)
_NUMBERS = {label: label for label in _LABELS}
# Numbers 1, 2, 3 and 255 of the PASCAL VOC palette as red, green, blue, and the grey that a conversion by
# .299 red + .587 green + .114 blue makes of them. The released code reads its masks as that grey.
_PALETTE = ((128, 0, 0), (0, 128, 0), (128, 128, 0), (224, 224, 192))
_GREYS = dict(zip((38, 75, 113, 220), _LABELS, strict=True))
_COLOURS = {
    256 + blue + 256 * (green + 256 * red): label
    for (red, green, blue), label in zip(_PALETTE, _LABELS, strict=True)
}
_CONVENTIONS: dict[str, Mapping[int, int]] = {
    "numbers": _NUMBERS,
    "grey of a palette": _GREYS,
    "colours": _COLOURS,
}
_EXPECTED = (
    "the numbers 0 background, 1 ground glass, 2 consolidation, 3 infection of unknown class and 255 "
    "ignored, or the colours (128, 0, 0) for 1 and (0, 128, 0) for 2, as PNG"
)
# What saving with a stretch to the whole grey scale makes of 0, 1 and 2.
_STRETCHED = {127, 128, 255}
_MOST_SHOWN = 8
# Pixels by which a mask and its class mask may differ: a rounded border, not another drawing.
_FEW = 4
_SMALL_SHARE = 0.02

Values = dict[int, str]
"""Levels that occur but 0, each with the first file that has it."""


def read_classes(path: Path) -> ByteArray:
    """Classes of a mask, read as the class masks of its folder are stored.

    Returns
    -------
    (rows, columns), 0, 1, 2, 3 or 255

    Raises
    ------
    DataError
        If the file cannot be read or holds no classes, or the masks of the folder are stored in two ways.
    """
    levels = class_levels(path)
    return _looked_up(levels, folder_codes(path.parent))


def class_mask_of(image: Path, folder: str) -> Path:
    """Where the class mask of a slice ``Imgs/<name>.jpg`` is: ``<folder>/<name>.png``.

    Raises
    ------
    DataError
        If there is none.
    """
    where = image.parents[1] / folder
    for name in dict.fromkeys((image.stem, mask_name(image.stem))):
        if (path := where / f"{name}.png").is_file():
            return path
    raise DataError(
        f"{image} has no class mask: expected {where / image.stem}.png; add it, or leave out the classes of "
        "the source",
        code=3165,
    )


def read_classified(
    image: Path, folder: str, *, soft: bool = False
) -> tuple[ByteArray, ByteArray, ByteArray]:
    """Read a slice, its mask and its classes, which follow the mask where they differ by a few pixels.

    Parameters
    ----------
    folder
        Of the class masks. That of the masks where a mask says the classes too; then infection is every
        class.
    soft
        As of :func:`~infnet_train.data.masks.read_mask`.

    Returns
    -------
    grey, labels 0..255 and classes (rows, columns), not turned

    Raises
    ------
    DataError
        If a mask is missing, the sizes differ, mask and classes disagree, or a file is refused.
    """
    path = class_mask_of(image, folder)
    classes = read_classes(path)
    if (image.parents[1] / folder) == mask_of(image).parent:
        grey = read_grey(image)
        check_size(image, grey, classes)
        return grey, np.where(is_infection(classes), 255, 0).astype(np.uint8), classes
    grey, labels = read_pair(image, soft=soft)
    check_size(path, classes, labels)
    return grey, labels, within_infection(classes, labels > INFECTED, path)


def classes_by(meaning: LabelMeaning, labels: AnyArray) -> ByteArray:
    """Classes of a label map whose labels were named."""
    infected, ignored = meaning.of(labels)
    classes = np.where(infected, UNKNOWN, BACKGROUND)
    classes[np.isin(labels, meaning.ground_glass)] = GROUND_GLASS
    classes[np.isin(labels, meaning.consolidation)] = CONSOLIDATION
    classes[ignored] = IGNORED
    return classes.astype(np.uint8)


def is_infection(classes: ByteArray) -> BoolArray:
    """Which pixels are infected, of whatever class."""
    return np.asarray((classes != BACKGROUND) & (classes != IGNORED), np.bool_)


def disagreeing(classes: ByteArray, infected: BoolArray) -> int:
    """Pixels that only one of a mask and its class mask calls infected; 0 where they are a few."""
    counted = classes != IGNORED
    marked = is_infection(classes)
    differing = int(np.count_nonzero((marked != infected) & counted))
    union = int(np.count_nonzero((marked | infected) & counted))
    return differing if differing > max(_FEW, _SMALL_SHARE * union) else 0


def within_infection(classes: ByteArray, infected: BoolArray, path: Path) -> ByteArray:
    """Classes that agree with the mask everywhere: none outside of it, unknown where it has no class.

    Parameters
    ----------
    path
        Of the class mask, for messages.

    Raises
    ------
    DataError
        If they differ by more than a few pixels.
    """
    differing = disagreeing(classes, infected)
    if differing:
        raise DataError(
            f"{path} and the mask of its slice, with {int(infected.sum())} infected pixels, differ in "
            f"{differing}; expected a class exactly where the mask has infection. They belong to two slices, "
            "lie differently, or were drawn by two readers: put the right class mask there",
            code=3166,
        )
    inside = np.where(is_infection(classes), classes, np.where(infected, UNKNOWN, BACKGROUND))
    return np.where(classes == IGNORED, IGNORED, np.where(infected, inside, BACKGROUND)).astype(np.uint8)


def unknown_classes(masks: ByteArray, ignore: ByteArray | None) -> ByteArray:
    """Classes of slices about which nothing but the infection is known.

    Parameters
    ----------
    masks, ignore : (..., rows, columns), 0..255
    """
    classes = np.where(masks > INFECTED, UNKNOWN, BACKGROUND)
    if ignore is not None:
        classes = np.where(ignore > INFECTED, IGNORED, classes)
    return classes.astype(np.uint8)


def resized_classes(classes: ByteArray, size: int, how: ClassResize, path: Path) -> ByteArray:
    """Classes (rows, columns) at network size.

    Parameters
    ----------
    how
        ``nearest`` takes the class at the centre of each pixel. ``bilinear`` is the released code, and gives
        no classes but its grey codes: 0, 38 for ground glass, 75 for consolidation, and what lies between
        them along each border; they are for ``class_loss = "as_released"`` alone.
    path
        Of the class mask, for messages.

    Returns
    -------
    (size, size)

    Raises
    ------
    DataError
        If pixels of unknown class or ignored ones are to be resized as the released code does, which has no
        code for them.
    """
    if how == "nearest":
        rows, columns = (
            ((np.arange(size) + 0.5) * length / size).astype(np.intp) for length in classes.shape
        )
        return np.ascontiguousarray(classes[np.ix_(rows, columns)])
    strange = sorted(set(np.unique(classes).tolist()) - {BACKGROUND, GROUND_GLASS, CONSOLIDATION})
    if strange:
        raise DataError(
            f"{path} has pixels of {' and '.join(map(_meaning, strange))}, for which the released code has "
            'no number; expected ground glass and consolidation alone, or class_resize = "nearest"',
            code=3167,
        )
    codes = np.zeros(classes.shape, np.uint8)
    for code, label in _GREYS.items():
        codes[classes == label] = code
    return np.asarray(cv2.resize(codes, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _meaning(label: int) -> str:
    return "unknown class" if label == UNKNOWN else "ignored ones"


def class_levels(path: Path) -> Levels:
    """The values of a class mask: 0..255 where it is grey, above for each colour.

    Raises
    ------
    DataError
        If the file cannot be read, is no PNG, has its labels in the transparency or more than 8 bits.
    """
    if path.suffix.lower() != ".png":
        raise DataError(
            f"{path} is a JPEG, which changes the numbers of classes at their borders; expected {_EXPECTED}. "
            "Save the class masks anew from where they were drawn",
            code=3164,
        )
    stored = read_stored(path)
    if is_transparency(stored):
        raise DataError(
            f"{path} has one colour and a transparency that differs, expected {_EXPECTED}; convert it",
            code=3164,
        )
    if stored.dtype == np.uint16:
        return _of_16_bits(stored, path)
    return levels_by_colour(stored)


def _of_16_bits(stored: AnyArray, path: Path) -> Levels:
    grey = stored if stored.ndim == 2 else stored[..., 0]
    if is_coloured(stored) or grey.max() > IGNORED:
        raise DataError(
            f"{path} has 16 bits per pixel and values up to {stored.max()}, expected {_EXPECTED}; write the "
            "numbers with 8 bits",
            code=3164,
        )
    return grey.astype(np.int32)


def slices_with(label: int, classes: ByteArray, how: ClassResize) -> int:
    """How many slices (n, size, size) have pixels of a class, as :func:`resized_classes` made them."""
    code = label
    if how == "bilinear":
        code = next(grey for grey, of in _GREYS.items() if of == label)
    return int(np.count_nonzero((classes == code).any(axis=(1, 2))))


def _looked_up(levels: Levels, codes: Mapping[int, int]) -> ByteArray:
    classes = np.zeros(levels.shape, np.uint8)
    for value, label in codes.items():
        classes[levels == value] = label
    return classes


def as_numbers(levels: Levels) -> Levels:
    """Levels of one mask with the colours of the palette as its numbers; others stay."""
    numbers = levels.copy()
    for colour, label in _COLOURS.items():
        numbers[levels == colour] = label
    return numbers


def folder_codes(folder: Path) -> Mapping[int, int]:
    """What the values of the class masks in a folder mean, by all of them.

    Raises
    ------
    DataError
        If they are no classes, or could be several things.
    """
    masks = pictures_in(folder)
    return _codes_of_files(folder, tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in masks))


@lru_cache(maxsize=64)
def _codes_of_files(folder: Path, files: tuple[tuple[str, int, int], ...]) -> Mapping[int, int]:
    def readable() -> Iterator[tuple[str, Levels]]:
        for name, _, _ in files:
            try:
                yield name, class_levels(folder / name)
            except DataError:  # said when its slice is read
                continue

    return codes_of(values_of(readable()), folder)


def values_of(masks: Iterable[tuple[str, Levels]]) -> Values:
    """Which levels some masks hold, given with their names."""
    found: Values = {}
    for name, levels in masks:
        for value in np.unique(levels).tolist():
            found.setdefault(value, name)
    found.pop(BACKGROUND, None)
    return found


def codes_of(found: Values, folder: Path) -> Mapping[int, int]:
    """What the levels of the class masks of a folder mean.

    Parameters
    ----------
    folder
        For messages.

    Raises
    ------
    DataError
        If they are no classes, or could be several things.
    """
    fitting = [codes for codes in _CONVENTIONS.values() if set(found) <= set(codes)]
    if set(found) == {IGNORED}:
        raise _refused(found, folder, "are the masks of the infection; name the folder of the classes")
    if fitting:
        return fitting[0]
    if set(found) <= _STRETCHED:
        why = "were stretched when they were saved, so that a class cannot be told; save the numbers"
    elif set(found) <= {value for codes in _CONVENTIONS.values() for value in codes}:
        why = "are stored in several ways; store all of them in one"
    elif len(found) > _MOST_SHOWN and max(found) < 256:
        why = "were interpolated, or are no labels; resize class masks by the nearest neighbour"
    else:
        why = "mean something else; write them anew, or say which label is which to infnet-train data prepare"
    raise _refused(found, folder, why)


def _refused(found: Values, folder: Path, why: str) -> DataError:
    values = sorted(found)
    shown = ", ".join(f"{_shown(value)} ({found[value]})" for value in values[:_MOST_SHOWN])
    more = f" and {len(values) - _MOST_SHOWN} more" if len(values) > _MOST_SHOWN else ""
    return DataError(
        f"class masks in {folder} hold {shown}{more} besides 0, expected {_EXPECTED}; they {why}", code=3164
    )


def _shown(level: int) -> str:
    if level < 256:
        return str(level)
    colour = level - 256
    return f"the colour ({colour >> 16}, {colour >> 8 & 255}, {colour & 255})"
