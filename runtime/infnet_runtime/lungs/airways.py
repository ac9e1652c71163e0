"""Windpipe and main bronchi, which hold air and are no lung."""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.lungs.components import areas, box_of, components
from infnet_runtime.lungs.reduced import OPEN_AIR_HU, ReducedScan
from infnet_runtime.scan.ct import Intensity

# The lumen of a windpipe is darker somewhere, at 2 mm and through the blur of its wall.
_AIRWAY_HU = -850.0
_AIRWAY_CM2 = (0.3, 10.0)


@dataclass(frozen=True, eq=False)
class _Small:
    """A small piece of air of one slice.

    Parameters
    ----------
    box
        Rows and columns around it.
    part
        Which pixels of the box it has.
    area : pixels
    column
        Of its centre.
    values
        Of its pixels.
    """

    box: tuple[slice, slice]
    part: BoolArray
    area: int
    column: float
    values: FloatArray

    @property
    def is_round(self) -> bool:
        """Whether it is as a section of a pipe."""
        height, width = self.part.shape
        is_full = self.area > 0.5 * width * height
        return bool(is_full) and max(width, height) < 2.5 * min(width, height) + 2


def airways(scan: ReducedScan, inside: BoolArray) -> BoolArray:
    """Windpipe and main bronchi: small air between the lungs, followed through the slices up to a lung."""
    found = np.zeros(inside.shape, np.bool_)
    is_hu = scan.intensity is Intensity.HU
    planes: list[list[_Small]] = []
    for k, plane in enumerate(inside):
        pieces = _small_pieces(scan, k, plane)
        if is_hu:
            pieces = [piece for piece in pieces if piece.values.min() < _AIRWAY_HU]
        planes.append(pieces)
        tissue = np.flatnonzero(scan.values[k].max(axis=0) >= scan.air)
        if len(tissue) == 0:
            continue
        middle, width = (tissue[0] + tissue[-1]) / 2, tissue[-1] - tissue[0] + 1
        for piece in pieces:
            if not piece.is_round:
                continue
            is_central = abs(piece.column - middle) < 0.1 * width
            # The windpipe has pure gas where it does not lie in the middle.
            if is_central or (is_hu and np.median(piece.values) < OPEN_AIR_HU):
                found[k][piece.box] |= piece.part
    _follow(planes, found)
    return found


def _small_pieces(scan: ReducedScan, k: int, inside: BoolArray) -> list[_Small]:
    """Pieces of a slice that are as large as an airway can be."""
    rows, columns = box_of(inside)
    if rows.start == rows.stop:
        return []
    number, labels = components(inside[rows, columns])
    least, most = (area / scan.pixel_cm2 for area in _AIRWAY_CM2)
    area = areas(number, labels)
    pieces = []
    for label in np.flatnonzero((area >= least) & (area <= most)):
        if label == 0:
            continue
        part = labels == label
        inner = box_of(part)
        part = part[inner]
        down, along = (_moved(one, by.start) for one, by in zip(inner, (rows, columns), strict=True))
        values = scan.values[k][down, along][part]
        column = (int(part.nonzero()[1].sum()) + along.start * len(values)) / len(values)
        pieces.append(_Small((down, along), part, len(values), column, values))
    return pieces


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _follow(planes: list[list[_Small]], found: BoolArray) -> None:
    """Mark the pieces that lie on what is marked in the next slice, downwards and then upwards."""
    for order in (range(len(planes) - 2, -1, -1), range(1, len(planes))):
        for k in order:
            if not planes[k]:
                continue
            last = found[k - order.step]
            size = int(np.count_nonzero(last))
            for piece in planes[k] if size else ():
                both = int(np.count_nonzero(piece.part & last[piece.box]))
                if both > 0.25 * min(piece.area, size):
                    found[k][piece.box] |= piece.part
