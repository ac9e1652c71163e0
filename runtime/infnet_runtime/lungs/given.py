"""Lung masks that come from elsewhere: which of their labels is which lung.

A number alone says nothing: 1 and 2 are right and left to one program, left and right to the next, lung and
infection to a third, and 1 to 5 are lobes in several orders. A numbering is believed where it is a known one
and the labels lie where it says; a mask with one label is split. Everything else is refused, unless the user
names the labels. Everything is in LPS with axes (slice, row, column), so low columns are the patient's right.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.lungs.split import split_sides
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.labels import whole_labels
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.scan.lung_mask import LungMask, lung_mask
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

# lungmask (https://github.com/JoHof/lungmask): R231 and LTRCLobes. TotalSegmentator's map of all classes
# (https://github.com/wasserth/TotalSegmentator, totalsegmentator/map_to_binary.py), versions 2 and 1.
_KNOWN = (
    LungLabels(right=(1,), left=(2,)),
    LungLabels(right=(3, 4, 5), left=(1, 2)),
    LungLabels(right=(12, 13, 14), left=(10, 11)),
    LungLabels(right=(15, 16, 17), left=(13, 14)),
)
# A label with less than this share of all labelled voxels is a stray: it does not decide what the others are.
# The smallest lobe has 5 %.
STRAY_SHARE = 0.001
# Share of one lung beyond the middle of the other. It is 0 in 26 pairs of lungs (docs/lung-masks.md); lungs
# with a rim of the other label, left by a resampling with interpolation, have 2 % and more.
_BEYOND_SHARE = 0.01
# Slices in which it is counted where labels lie.
_LOOKED_AT = 64
_MOST_LABELS = 255
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Labelled:
    """A label map whose labels are counted.

    Parameters
    ----------
    name
        For messages.
    index : (slice, row, column)
        Position of each voxel's label in ``labels``, from 1 on; 0 is background.
    labels
        Those that occur, in order.
    voxels : (labels,)
        How many voxels each has.
    columns : (labels, columns)
        How many of them lie in each column, in a part of the slices.
    """

    name: str
    index: ByteArray
    labels: tuple[int, ...]
    voxels: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]

    def where(self, labels: tuple[int, ...]) -> BoolArray:
        """Voxels with one of these labels."""
        chosen = np.array([False, *(label in labels for label in self.labels)])
        return np.asarray(chosen[self.index])

    def columns_of(self, labels: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Histogram of the columns of several labels."""
        rows = [k for k, label in enumerate(self.labels) if label in labels]
        return np.asarray(self.columns[rows].sum(axis=0))

    def shown(self, labels: tuple[int, ...]) -> str:
        """Labels with their share, for messages."""
        total = int(self.voxels.sum())
        parts = [
            f"{label} ({int(voxels)} voxels, {100 * voxels / total:.2g} %)"
            for label, voxels in zip(self.labels, self.voxels, strict=True)
            if label in labels
        ]
        return ", ".join(parts[:_SHOWN]) + (f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else "")


def given_lungs(
    labels: AnyArray,
    grid: Grid,
    *,
    named: LungLabels | None = None,
    name: str = "the lung mask",
    source: str = "the scan",
) -> LungMask:
    """Right and left lung from a mask on the grid of a scan.

    Parameters
    ----------
    labels : (i, j, k)
        In stored order. Without ``named``: 1 the patient's right lung and 2 the left; lobes as lungmask or
        TotalSegmentator number them; or one label (or booleans), which is split. Where that marks one lung
        only, 2 is the left one, and any other label leaves its side unknown (3).
    grid
        Of the scan.
    named
        Which label is which lung.
    name, source
        What messages call the mask and the scan.

    Raises
    ------
    InputError
        If it is not certain which label is which lung, or nothing is marked.
    GeometryError
        If the shape is not that of the grid.
    """
    in_lps = grid.to_lps(whole_labels(labels, name), source=source)
    if not in_lps.any():
        raise InputError(
            f"{name} is empty: no voxel is marked; give the mask of this scan, or none and the lungs are "
            "found",
            code=3066,
        )
    labelled = labelled_map(in_lps, name)
    sides, remark = _known_sides(labelled) if named is None else _named_sides(labelled, named)
    cut = _touching(sides) if named is None and len(labelled.labels) == 1 else 0
    return lung_mask(grid.from_lps(sides), grid, source=source, remark=remark, cut_slices=cut)


def sides_exchanged(lungs: ByteArray) -> bool:
    """Whether the right lung of a mask lies to the left of its left lung.

    Parameters
    ----------
    lungs : (slice, row, column)
        1 the right lung, 2 the left.
    """
    labelled = labelled_map(lungs[:: max(1, len(lungs) // _LOOKED_AT)], "the lung mask")
    if labelled.labels != (RIGHT, LEFT):
        return False
    return lie_on_their_sides(labelled, LungLabels(right=(LEFT,), left=(RIGHT,)))


def labelled_map(in_lps: AnyArray, name: str) -> Labelled:
    """Count the labels of a map.

    Parameters
    ----------
    in_lps : (slice, row, column)
        Whole numbers.
    name
        For messages.

    Raises
    ------
    InputError
        If there are more values than a mask has.
    """
    slices, _, columns = in_lps.shape
    if in_lps.dtype == np.uint8:
        names, index = np.arange(256), in_lps
    else:
        names = np.unique(np.concatenate([[0], *(np.unique(plane) for plane in in_lps)]))
        if len(names) > _MOST_LABELS:
            raise InputError(
                f"{name} has {len(names)} different values, expected the few labels of a lung mask; give the "
                "mask, not the scan",
                code=3061,
            )
        index = np.stack([np.searchsorted(names, plane) for plane in in_lps]).astype(np.uint8)
    voxels = np.zeros(len(names), np.int64)
    for plane in index:
        voxels += np.bincount(plane.ravel(), minlength=len(names))
    present = [k for k in np.flatnonzero(voxels).tolist() if k != 0]
    place = np.zeros(256, np.uint8)
    place[present] = np.arange(1, len(present) + 1)
    places = place[index]
    by_column = np.zeros((len(present) + 1, columns), np.int64)
    for plane in places[:: max(1, slices // _LOOKED_AT)]:
        at = plane * np.int64(columns) + np.arange(columns)
        by_column += np.bincount(at.ravel(), minlength=by_column.size).reshape(by_column.shape)
    labels = tuple(int(names[k]) for k in present)
    return Labelled(name, places, labels, voxels[present], by_column[1:])


def _known_sides(labelled: Labelled) -> tuple[ByteArray, str]:
    """Sides by one label or by a known numbering, and a remark on strays."""
    share = labelled.voxels / labelled.voxels.sum()
    main = tuple(label for label, part in zip(labelled.labels, share, strict=True) if part >= STRAY_SHARE)
    if len(main) == 1:
        return _with_strays(
            _split(labelled.where(main), alone=LEFT if main == (LEFT,) else EITHER), labelled, main
        )
    for labels in (main, labelled.labels):
        for known in _KNOWN:
            if _is_all_of(known, labels) and lie_on_their_sides(labelled, known):
                return _with_strays(_by_name(labelled, known), labelled, labels)
    raise _uncertain(labelled, main)


def _split(lungs: BoolArray, *, alone: int = EITHER) -> ByteArray:
    """Both lungs of a mask without sides; where it marks one, its place in the picture says nothing.

    Only the number 2 does: whoever has one label writes 1 or 255.
    """
    return split_sides(lungs, lone_side=lambda _: alone)


def _touching(sides: ByteArray) -> int:
    """Slices in which a row goes from the right lung into the left."""
    return sum(bool(((plane[:, :-1] == RIGHT) & (plane[:, 1:] == LEFT)).any()) for plane in sides)


def _named_sides(labelled: Labelled, named: LungLabels) -> tuple[ByteArray, str]:
    """Sides as the user names them, and a remark on what is left out."""
    for side in (named.right, named.left, named.lung):
        if side and not set(side) & set(labelled.labels):
            raise InputError(
                f"{labelled.name} has none of the labels {'+'.join(map(str, side))} of {named}; it has "
                f"{labelled.shown(labelled.labels)}",
                code=3065,
            )
    sides = _by_name(labelled, named)
    if named.lung:
        unsided = labelled.where(named.lung)
        np.copyto(sides, _split(unsided | (sides > 0)), where=unsided)
    others = tuple(sorted(set(labelled.labels) - {*named.right, *named.left, *named.lung}))
    if not others:
        return sides, ""
    return sides, f"labels of the lung mask that are not named count as no lung: {labelled.shown(others)}"


def _by_name(labelled: Labelled, named: LungLabels) -> ByteArray:
    side_of = [0, *(RIGHT * (n in named.right) + LEFT * (n in named.left) for n in labelled.labels)]
    return np.asarray(np.array(side_of, np.uint8)[labelled.index])


def _is_all_of(known: LungLabels, labels: tuple[int, ...]) -> bool:
    """Whether these are all labels of a numbering. 1, 2 and 3 may be lobes, or lungs and an infection."""
    return sorted(labels) == sorted(known.right + known.left)


def lie_on_their_sides(labelled: Labelled, known: LungLabels) -> bool:
    """Whether the right labels lie to the right of the left ones."""
    right, left = labelled.columns_of(known.right), labelled.columns_of(known.left)
    if not right.any() or not left.any():
        return False
    beyond_left = right[_middle(left) :].sum() / right.sum()
    beyond_right = left[: _middle(right) + 1].sum() / left.sum()
    return bool(max(beyond_left, beyond_right) < _BEYOND_SHARE)


def _middle(columns: npt.NDArray[np.int64]) -> int:
    """Column with half of the voxels before it."""
    return int(np.searchsorted(np.cumsum(columns), columns.sum() / 2))


def _with_strays(sides: ByteArray, labelled: Labelled, labels: tuple[int, ...]) -> tuple[ByteArray, str]:
    """Strays become the lung that they touch, and background where they touch none."""
    strays = tuple(label for label in labelled.labels if label not in labels)
    if not strays:
        return sides, ""
    at = np.argwhere(labelled.where(strays))
    steps = [step for step in product((-1, 0, 1), repeat=3) if any(step)]
    waiting = at
    while len(waiting):
        found = np.zeros(len(waiting), np.uint8)
        for step in steps:
            beside = tuple(np.clip(waiting + step, 0, np.array(sides.shape) - 1).T)
            found = np.where(found == 0, sides[beside], found)
        sides[tuple(waiting.T)] = found
        if not found.any():
            break
        waiting = waiting[found == 0]
    return sides, (
        f"labels of the lung mask with less than {100 * STRAY_SHARE:g} % of it decide nothing: "
        f"{labelled.shown(strays)}; {len(at) - len(waiting)} of these voxels touch a lung and count as lung"
    )


def _uncertain(labelled: Labelled, main: tuple[int, ...]) -> InputError:
    """What the labels are, where they lie, and how to name them."""
    remedy = f"name them, for example --lung-labels {_by_place(labelled, main)}"
    for known in _KNOWN:
        exchanged = LungLabels(right=known.left, left=known.right)
        if _is_all_of(known, main) and lie_on_their_sides(labelled, exchanged):
            right, left = (" and ".join(map(str, side)) for side in (known.right, known.left))
            return InputError(
                f"the sides of {labelled.name} are exchanged: {right} is the right lung as such masks are "
                f"numbered, but lies to the patient's left of {left}; if the place is right, {remedy}, else "
                "correct the orientation of scan and mask",
                code=3064,
            )
    return InputError(
        f"{labelled.name} has the labels {labelled.shown(main)}, and it is not certain which is which lung; "
        "expected 1 right and 2 left, the lobes of lungmask or TotalSegmentator, each on its side, or one "
        f"label; {remedy}",
        code=3061,
    )


def _by_place(labelled: Labelled, labels: tuple[int, ...]) -> LungLabels:
    """Names for labels by where they lie, as an example that the user checks."""
    if len(labels) > _SHOWN:
        return LungLabels(right=(1,), left=(2,))
    ends = np.quantile(
        np.repeat(np.arange(labelled.columns.shape[1]), labelled.columns_of(labels)), (0.01, 0.99)
    )
    middle = round(float(ends.mean()))
    sides: dict[str, list[int]] = {"right": [], "left": [], "lung": []}
    for label in labels:
        columns = labelled.columns_of((label,))
        right = columns[:middle].sum() / max(1, columns.sum())
        sides["right" if right > 0.9 else "left" if right < 0.1 else "lung"].append(label)
    return LungLabels(**{side: tuple(found) for side, found in sides.items()})
