"""Flat marks: large in one slice, and without continuation in the slices above and below.

The dome of the diaphragm looks like ground glass in the slice that touches it, and is in no other. Disease
goes on along the body. What is flat is taken out of what a network marked; a mask that is given is measured
as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.cancel import go_on
from infnet_runtime.measure.components import Components, labelled
from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML, FLATTEST
from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.planes import contiguous


@dataclass(frozen=True, eq=False)
class FlatPart:
    """What of one slice is part of flat marks.

    Parameters
    ----------
    number
        Of the slice.
    rows, columns
        A box of it.
    where : (rows, columns)
        In the box.
    """

    number: int
    rows: slice
    columns: slice
    where: BoolArray

    @property
    def box(self) -> tuple[int, slice, slice]:
        """Its place in an array of the scan."""
        return self.number, self.rows, self.columns


def flat_marks(
    mask: ByteArray, slices: Sequence[int], *, pixel_mm2: float, plane_mm: float, limit: float = FLATTEST
) -> Iterator[FlatPart]:
    """What of a mask is flat, slice by slice from the feet; it may be taken out of each as it comes.

    A piece of voxels that touch by faces, edges or corners is flat if it is wider than ``limit`` times its
    height: as wide as the disc of the area that it has in its largest slice, as high as its slices. One that
    reaches a slice beyond which was not looked may go on there, and is not flat.

    Parameters
    ----------
    mask : (slices, rows, columns)
        Everything but 0.
    slices
        Those that were looked at, rising; there is nothing in others.
    pixel_mm2, plane_mm : mm2, mm
        ``grid.pixel_mm2`` and ``grid.plane_mm`` of the scan: both across its slices, however they are tilted.

    Examples
    --------
    >>> mask = np.zeros((5, 9, 9), np.uint8)
    >>> mask[2] = 1
    >>> [part.number for part in flat_marks(mask, range(5), pixel_mm2=1.0, plane_mm=2.0)]
    [2]
    >>> mask[3, 4, 4] = 1
    >>> [part.number for part in flat_marks(mask, range(5), pixel_mm2=1.0, plane_mm=2.0)]
    []
    """
    found = Components()
    for number in slices:
        go_on()
        found.add(number, contiguous(mask[number]))
    pieces = found.pieces()
    width_mm = 2 * np.sqrt(pieces.widest * (pixel_mm2 / np.pi))
    height_mm = (pieces.last - pieces.first + 1) * plane_mm
    feet, head = _ends(slices)
    is_flat = (width_mm > limit * height_mm) & ~np.isin(pieces.first, feet) & ~np.isin(pieces.last, head)
    of_part = is_flat[pieces.piece]
    for number in np.unique(pieces.plane[of_part]).tolist():
        first, last = np.searchsorted(pieces.plane, [number, number + 1])
        again = labelled(contiguous(mask[number]))
        assert again is not None
        _, labels, row, column = again
        rows, columns = labels.shape
        yield FlatPart(
            number,
            slice(row, row + rows),
            slice(column, column + columns),
            np.concatenate([[False], of_part[first:last]])[labels],
        )


def _ends(slices: Sequence[int]) -> tuple[list[int], list[int]]:
    """Slices below which was not looked, and those above which was not."""
    known = set(slices)
    return [n for n in slices if n - 1 not in known], [n for n in slices if n + 1 not in known]


def remark(voxels: int, voxel_ml: float) -> tuple[Flag, ...]:
    """What taking them out did, for the reader of the numbers; less than a counted piece is not worth it."""
    ml = voxels * voxel_ml
    if ml < COMPONENT_FLOOR_ML:
        return ()
    return (
        Flag(
            "flat_marks_removed",
            f"{ml:.1f} ml of flat marks were left out: pieces more than {FLATTEST:g} times as wide as they "
            "are high, as the dome of the diaphragm is where a slice touches it, and hardly any lesion; "
            "--keep-flat-marks (keep_flat_marks=True) keeps them",
            warns=False,
        ),
    )
