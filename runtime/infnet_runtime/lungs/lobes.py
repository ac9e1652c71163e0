"""Lobe masks that come from elsewhere: which of their labels is which lobe.

A numbering is believed where it is a known one and the labels lie where it says: left and right lobes on
their sides, upper lobes above lower ones. Everything else is refused: a lobe that is taken for another gives
scores that look right.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.lungs.given import STRAY_SHARE, Labelled, labelled_map, lie_on_their_sides
from infnet_runtime.measure.tally import LOBES
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.labels import whole_labels
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.scan.sides import LEFT, RIGHT


@dataclass(frozen=True)
class _Numbering:
    """Labels of the lobes of a program, in the order of ``LOBES``.

    Parameters
    ----------
    among_others
        Whether other organs may be in the same map.
    """

    name: str
    labels: tuple[int, ...]
    among_others: bool = False

    def sides(self, present: tuple[int, ...]) -> LungLabels:
        """Those that are there, by side."""
        left, right = self.labels[:2], self.labels[2:]
        return LungLabels(
            right=tuple(label for label in right if label in present),
            left=tuple(label for label in left if label in present),
        )


# lungmask (https://github.com/JoHof/lungmask), LTRCLobes; TotalSegmentator's map of all classes
# (https://github.com/wasserth/TotalSegmentator, totalsegmentator/map_to_binary.py), versions 2 and 1.
_KNOWN = (
    _Numbering("lungmask's LTRCLobes", (1, 2, 3, 4, 5)),
    _Numbering("TotalSegmentator 2", (10, 11, 12, 13, 14), among_others=True),
    _Numbering("TotalSegmentator 1", (13, 14, 15, 16, 17), among_others=True),
)
# One may be missing: it was removed.
_LEAST_LOBES = 4


def given_lobes(
    labels: AnyArray, grid: Grid, *, name: str = "the lobe mask", source: str = "the scan"
) -> ByteArray:
    """Lobes from a mask on the grid of a scan.

    Parameters
    ----------
    labels : (i, j, k)
        In stored order, numbered as lungmask's LTRCLobes (1 left upper, 2 left lower, 3 right upper, 4 right
        middle, 5 right lower) or as TotalSegmentator's map of all classes (10 to 14 in the same order; 13 to
        17 in its version 1).
    grid
        Of the scan.
    name, source
        What messages call the mask and the scan.

    Returns
    -------
    (i, j, k), numbers of ``infnet_runtime.measure.tally.LOBES``

    Raises
    ------
    InputError
        If the labels are none of these, or do not lie where they say.
    GeometryError
        If the shape is not that of the grid.
    """
    in_lps = grid.to_lps(whole_labels(labels, name), source=source)
    labelled = labelled_map(in_lps, name)
    share = labelled.voxels / max(1, labelled.voxels.sum())
    main = tuple(label for label, part in zip(labelled.labels, share, strict=True) if part >= STRAY_SHARE)
    trouble = []
    for known in _KNOWN:
        present = tuple(label for label in known.labels if label in labelled.labels)
        others = [label for label in main if label not in known.labels]
        if len(present) < _LEAST_LOBES or (others and not known.among_others):
            continue
        why = _misplaced(labelled, known, present)
        if not why:
            return grid.from_lps(_numbered(labelled, known))
        trouble.append(f"as {known.name} numbers them, {why}")
    shown = labelled.shown(labelled.labels) or "no label"
    if trouble:
        raise InputError(
            f"the lobes of {name} do not lie where their labels say: {'; '.join(trouble)}. It has {shown}; "
            "check the orientation of scan and mask, or make the lobe mask again from this scan",
            code=3333,
        )
    raise InputError(
        f"{name} has {shown}; expected lobes: 1 left upper, 2 left lower, 3 right upper, 4 right middle and "
        "5 right lower (lungmask's LTRCLobes), or 10 to 14 in the same order (TotalSegmentator), or the "
        "folder of TotalSegmentator's five lung_*_lobe_* files",
        code=3332,
    )


def sides_of_lobes(lobes: ByteArray) -> ByteArray:
    """Lungs of lobes, of any shape: 1 the patient's right lung, 2 the left."""
    side = np.zeros(256, np.uint8)
    for name, number in LOBES.items():
        side[number] = LEFT if name.startswith("left") else RIGHT
    return np.asarray(side[lobes])


def _numbered(labelled: Labelled, known: _Numbering) -> ByteArray:
    number = dict(zip(known.labels, LOBES.values(), strict=True))
    table = np.array([0, *(number.get(label, 0) for label in labelled.labels)], np.uint8)
    return np.asarray(table[labelled.index])


def _misplaced(labelled: Labelled, known: _Numbering, present: tuple[int, ...]) -> str:
    """What does not lie where it should; empty where all does."""
    if not lie_on_their_sides(labelled, known.sides(present)):
        return "a left lobe lies on the right, or a right one on the left"
    height = _heights(labelled)
    left_upper, left_lower, right_upper, _, right_lower = known.labels
    for upper, lower in ((left_upper, left_lower), (right_upper, right_lower)):
        if upper in height and lower in height and height[upper] <= height[lower]:
            return f"the lower lobe {lower} lies above the upper lobe {upper}"
    return ""


def _heights(labelled: Labelled) -> dict[int, float]:
    """Mean slice of each label, from the feet."""
    moments = np.zeros(len(labelled.labels) + 1)
    for number, plane in enumerate(labelled.index):
        moments += number * np.bincount(plane.ravel(), minlength=len(moments))
    return dict(zip(labelled.labels, (moments[1:] / labelled.voxels).tolist(), strict=True))
