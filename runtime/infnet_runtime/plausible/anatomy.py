"""Whether the body lies in the scan as the affine says: the spine at the back, and the head above the foot.

An affine that was lost or changed turns a patient around without a trace in the header. Anatomy tells: the
spine is the only bone that runs through every slice of a chest, and it lies behind the middle of the lungs,
however the patient lay on the table. What was measured stands in ``docs/plausibility.md``.

Left and right exchanged alone (a mirror) cannot be told from anatomy with certainty and is not looked for.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from infnet_runtime.arrays import DoubleArray, FloatArray
from infnet_runtime.errors import GeometryError
from infnet_runtime.lungs.closing import hull
from infnet_runtime.measure.flags import Flag
from infnet_runtime.opencv import cv2
from infnet_runtime.plausible.coarse import CoarseChest

Where: TypeAlias = Literal["back", "front", "left side", "right side"]

# Lengths are given for lungs 250 mm wide and scale with them, so that children and scans without a size are
# judged alike. A vertebra fills 3 cm² of a square of 40 mm in every slice, ribs and breastbone do not.
_REFERENCE_MM = 250.0
_WINDOW_MM = 40.0
_BONE_CM2 = 3.0
_FROM_CENTRE_MM = 15.0
# A place is judged where it lies this far off the axis to the side looked at: 0.6 is 31 degrees.
_SPREAD = 0.6
# In fewer slices, or less of a body, every bone runs through.
_LEAST_SLICES = 8
_LEAST_HEIGHT_MM = 60.0
# Share of the slices with bone. Behind the lungs: 0.86 and more in the scans at hand. Refused and flagged:
_RUNS_THROUGH, _DOES_NOT = 0.8, 0.6
_LEAST_LEAD = 0.15
_AXES = ("from foot to head", "from front to back", "from right to left")
_CORRECT = (
    "the orientation in the header is not that of the voxels: convert the scan again from its DICOM files, "
    "or correct the affine"
)
# No scan is judged by its axes whose second longest side is shorter than this many lungs.
_WHOLE_CHEST = 0.95
# A field of view cut on a side by this share of its border may hold one lung, whose spine lies beside it.
_CUT_BORDER = 0.3
# What lies between the lungs, as a share of their hull, widens from head to foot: heart and liver.
_END_SHARE = 0.25
_LEAST_NARROWING = 0.15


@dataclass(frozen=True)
class SpineSides:
    """Share of the slices with a vertebra's bone, at the best place on each side of the lungs."""

    shares: dict[Where, float]

    @property
    def strongest(self) -> Where:
        """Side where bone runs through most slices; the back where several do."""
        return max(self.shares, key=lambda side: (self.shares[side], side == "back"))

    @property
    def lead(self) -> float:
        """How far the strongest side is ahead of the back."""
        return self.shares[self.strongest] - self.shares["back"]

    @property
    def is_odd(self) -> bool:
        """Whether bone runs through at another side than the back, and clearly less there."""
        return self.shares[self.strongest] >= _RUNS_THROUGH and self.lead >= _LEAST_LEAD

    @property
    def is_certain(self) -> bool:
        """Whether it runs through at that side only."""
        rest = [share for side, share in self.shares.items() if side != self.strongest]
        return self.is_odd and max(rest) <= _DOES_NOT


def spine_doubts(chest: CoarseChest, source: str, *, has_size: bool) -> tuple[Flag, ...]:
    """Flags on where the spine lies.

    Parameters
    ----------
    source
        Name of the scan for messages.
    has_size
        Whether the slices have a known distance.

    Raises
    ------
    GeometryError
        If the spine certainly lies in front of the lungs or beside them.
    """
    if has_size and chest.box_mm[0] < _LEAST_HEIGHT_MM:
        return ()
    sides = spine_sides(chest)
    if sides and sides.is_odd and not (sides.strongest.endswith("side") and _is_cut_beside(chest)):
        seen = (
            f"bone as in a spine lies at the {sides.strongest} of the lungs in "
            f"{sides.shares[sides.strongest]:.0%} of the slices with lung, and behind them in "
            f"{sides.shares['back']:.0%}; by the affine it should be behind. Left and right may be exchanged "
            "too"
        )
        if sides.is_certain:
            raise GeometryError(f"{source}: {seen}. {_CORRECT}", code=3037)
        return (Flag("spine_not_behind_lungs", f"{seen}. Look at the scan in a viewer; if so: {_CORRECT}"),)
    along = spine_along(chest) if has_size else None
    if along and max(along) - along[0] >= _LEAST_LEAD:
        axis = _AXES[along.index(max(along))]
        return (
            Flag(
                "spine_along_another_axis",
                f"bone as in a spine runs {axis} (through {max(along):.0%} of the planes) rather than from "
                f"foot to head ({along[0]:.0%}): the axes may be exchanged. Look at the scan in a viewer; if "
                f"so: {_CORRECT}",
            ),
        )
    return ()


def spine_sides(chest: CoarseChest) -> SpineSides | None:
    """On which side of the lungs bone runs through; nothing in a scan of few slices or with one lung."""
    used = chest.slices_with_lung
    if used.stop - used.start < _LEAST_SLICES or not chest.has_both_lungs:
        return None
    _, row_mm, column_mm = chest.mm
    scale = chest.box_mm[2] / _REFERENCE_MM
    through = _through(chest, 0, scale, used)
    lung = chest.lungs > 0
    rows, columns = (np.flatnonzero(lung.any(axis=others)) for others in ((0, 2), (0, 1)))
    back = (np.arange(lung.shape[1])[:, None] - (rows[0] + rows[-1]) / 2) * row_mm / scale
    left = (np.arange(lung.shape[2])[None] - (columns[0] + columns[-1]) / 2) * column_mm / scale

    def best(ahead: DoubleArray, across: DoubleArray) -> float:
        return float(through[(ahead > _FROM_CENTRE_MM) & (np.abs(across) < _SPREAD * ahead)].max(initial=0.0))

    return SpineSides(
        {
            "back": best(back, left),
            "front": best(-back, left),
            "left side": best(left, back),
            "right side": best(-left, back),
        }
    )


def spine_along(chest: CoarseChest) -> tuple[float, float, float] | None:
    """Share of all planes across each axis with a vertebra's bone at the best place.

    Returns
    -------
    (foot to head, front to back, right to left)
        Nothing where few planes are there, or the field of view is too tight for a whole chest.
    """
    size_mm = max(chest.box_mm)
    extent_mm = sorted(n * mm for n, mm in zip(chest.bone.shape, chest.mm, strict=True))
    if min(chest.bone.shape) < _LEAST_SLICES or extent_mm[1] < _WHOLE_CHEST * size_mm:
        return None
    scale = size_mm / _REFERENCE_MM
    upright, forward, aside = (float(_through(chest, axis, scale, slice(None)).max()) for axis in range(3))
    return upright, forward, aside


def _through(chest: CoarseChest, axis: int, scale: float, planes: slice) -> FloatArray:
    """Share of the planes across an axis with a vertebra's bone around each place in them."""
    bone = np.ascontiguousarray(np.moveaxis(chest.bone, axis, 0)[planes])
    vertical_mm, horizontal_mm = (mm for n, mm in enumerate(chest.mm) if n != axis)
    size = tuple(max(1, round(_WINDOW_MM * scale / mm)) for mm in (horizontal_mm, vertical_mm))
    least = _BONE_CM2 * 100.0 * scale**2 / (vertical_mm * horizontal_mm)
    found = np.zeros(bone.shape[1:], np.float32)
    for plane in bone:
        part = plane.astype(np.float32)
        found += cv2.boxFilter(part, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT) >= least
    found /= len(bone)
    return found


def _is_cut_beside(chest: CoarseChest) -> bool:
    """Whether the body goes on beyond the left or the right border of the image."""
    rows = (chest.lungs > 0).any(axis=(0, 2))
    borders = chest.tissue[:, rows][:, :, [0, -1]]
    return bool(borders.mean(axis=(0, 1)).max(initial=0.0) > _CUT_BORDER)


def narrowing(chest: CoarseChest) -> float | None:
    """By how much less lies between the lungs at the foot than at the head, as a share of their hull.

    Negative in a scan that lies right; nothing where the lungs are cut or one is missing.
    """
    both = [k for k, plane in enumerate(chest.lungs) if (plane == 1).any() and (plane == 2).any()]
    if any(chest.is_cut) or not chest.has_both_lungs or len(both) < _LEAST_SLICES:
        return None
    n = max(2, round(_END_SHARE * len(both)))
    foot, head = (_between(chest, part) for part in (both[:n], both[-n:]))
    return head - foot


def _between(chest: CoarseChest, slices: list[int]) -> float:
    whole = lung = 0
    for k in slices:
        plane = chest.lungs[k] > 0
        whole += int(np.count_nonzero(hull(plane)))
        lung += int(np.count_nonzero(plane))
    return 1 - lung / max(1, whole)


def head_doubts(chest: CoarseChest) -> tuple[Flag, ...]:
    """A flag where head and foot look exchanged."""
    by = narrowing(chest)
    if by is None or by < _LEAST_NARROWING:
        return ()
    return (
        Flag(
            "head_and_foot_exchanged",
            f"what lies between the lungs gets narrower towards the foot, by {by:.0%} of their hull; heart "
            "and liver make it wider there. The slices may be in the opposite order, and left and right "
            "exchanged: look at the scan in a viewer",
        ),
    )
