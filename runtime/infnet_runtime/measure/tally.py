"""Counts of a scan, made in one pass over its slices: everything the numbers are computed from.

Voxels are counted by side, by lobe, by whether they are infected and by their HU. No array as large as the
scan is made, and slices without lung cost little. Sums of whole numbers do not depend on the order of the
voxels: a scan that is stored another way round has the same numbers to the bit.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.cancel import go_on
from infnet_runtime.measure.components import Components
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.planes import contiguous
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

Counts = npt.NDArray[np.int64]

SIDES: dict[str, tuple[int, ...]] = {"both": (RIGHT, LEFT, EITHER), "right": (RIGHT,), "left": (LEFT,)}
LOBES = {
    "left_upper": 1,
    "left_lower": 2,
    "right_upper": 3,
    "right_middle": 4,
    "right_lower": 5,
}
"""Region to its number in a lobe mask, as lungmask's LTRCLobes number them."""

LOWEST_HU = -(1 << 15)
_HU_VALUES = 1 << 16  # of a histogram: all that 16 bits hold
_SIDES = EITHER + 2  # none, right, left, either, and labels that are none of them
_OTHER = EITHER + 1
_GATHERED = 1 << 20  # voxels that are put into the histogram at once


@dataclass(frozen=True, eq=False)
class RegionTally:
    """Counts of one region.

    Parameters
    ----------
    lung_by_slice, infected_by_slice : (slices,)
        Voxels; the infected ones are lung too.
    lung_hu, infected_hu : (65536,)
        Voxels by HU, from ``LOWEST_HU`` on; None where the values are no HU.
    pieces
        Voxels of each connected piece of the infection, the largest first.
    """

    lung_by_slice: Counts
    infected_by_slice: Counts
    lung_hu: Counts | None
    infected_hu: Counts | None
    pieces: tuple[int, ...]

    @property
    def lung(self) -> int:
        """Voxels of lung."""
        return int(self.lung_by_slice.sum())

    @property
    def infected(self) -> int:
        """Infected voxels."""
        return int(self.infected_by_slice.sum())


@dataclass(eq=False)
class Tally:
    """Counts of a scan.

    Parameters
    ----------
    by_slice : (slices, lobes, sides, 2)
        Voxels of lung, the infected ones apart.
    by_hu : (lobes, sides, 2, 65536)
        As ``by_slice`` over all slices; None where the values are no HU.
    marked_slices
        Slices with anything in the infection mask, inside the lungs or not.
    """

    by_slice: Counts
    by_hu: Counts | None
    pieces: dict[str, Components] = field(default_factory=dict)
    marked_slices: int = 0
    _regions: dict[str, RegionTally] = field(default_factory=dict)

    def region(self, name: str) -> RegionTally:
        """Counts of ``both``, ``right``, ``left`` or a lobe."""
        if name not in self._regions:
            self._regions[name] = self._region(name)
        return self._regions[name]

    @property
    def infected(self) -> int:
        """Infected voxels in the lungs, whatever their label."""
        return int(self.by_slice[:, :, 1:, 1].sum())

    @property
    def slices_with_lung(self) -> int:
        """Slices with lung, whatever its label."""
        return int(np.count_nonzero(self.by_slice[:, :, 1:].any(axis=(1, 2, 3))))

    def has_side(self, label: int) -> bool:
        """Whether any lung has this label."""
        return bool(self.by_slice[:, :, label].any())

    def _region(self, name: str) -> RegionTally:
        lobes = slice(LOBES[name], LOBES[name] + 1) if name in LOBES else slice(None)
        sides = list(SIDES.get(name, SIDES["both"]))
        by_slice = self.by_slice[:, lobes][:, :, sides].sum(axis=(1, 2))  # (slices, 2)
        by_hu = None if self.by_hu is None else self.by_hu[lobes][:, sides].sum(axis=(0, 1))  # (2, hu)
        return RegionTally(
            lung_by_slice=by_slice.sum(axis=1),
            infected_by_slice=by_slice[:, 1],
            lung_hu=None if by_hu is None else by_hu.sum(axis=0),
            infected_hu=None if by_hu is None else by_hu[1],
            pieces=tuple(self.pieces[name].voxels),
        )


def tally(
    infection: ByteArray, lungs: ByteArray, *, hu: Voxels | None = None, lobes: ByteArray | None = None
) -> Tally:
    """Count a scan.

    Parameters
    ----------
    infection : (slices, rows, columns)
        Everything but 0.
    lungs : (slices, rows, columns)
        1 is the patient's right lung, 2 the left, 3 a lung of unknown side.
    hu : (slices, rows, columns)
        Absent where the values of the scan are no HU.
    lobes : (slices, rows, columns)
        Numbers of ``LOBES``, 0 elsewhere.
    """
    shape = 1 if lobes is None else len(LOBES) + 1, _SIDES, 2
    groups = int(np.prod(shape))
    regions = [*SIDES, *(LOBES if lobes is not None else ())]
    found = Tally(
        by_slice=np.zeros((len(lungs), groups), np.int64),
        by_hu=None,
        pieces={name: Components() for name in regions},
    )
    histogram = None if hu is None else _Histogram(groups)
    for number in range(len(lungs)):
        go_on()
        found.marked_slices += bool(infection[number].max())
        plane = contiguous(lungs[number])
        column, row, columns, rows = cv2.boundingRect(plane)
        if not rows:
            continue
        box = slice(row, row + rows), slice(column, column + columns)
        lung, marked = plane[box], contiguous(infection[number][box])
        lobe = None if lobes is None else contiguous(lobes[number][box])
        at = np.flatnonzero(lung)
        group = _SIDE_OF[lung.ravel()[at]]
        if lobe is not None:
            group += np.uint8(_SIDES) * lobe.ravel()[at]
        group *= np.uint8(2)
        group += marked.ravel()[at] > 0
        found.by_slice[number] = np.bincount(group, minlength=groups)
        if histogram is not None and hu is not None:
            values = contiguous(hu[(number, *box)])
            histogram.add(group, values.ravel()[at])
        if found.by_slice[number, 1::2].any():
            _add_pieces(found.pieces, number, marked, lung, lobe, (row, column))
    found.by_slice = found.by_slice.reshape(-1, *shape)
    found.by_hu = None if histogram is None else histogram.counts.reshape(*shape, _HU_VALUES)
    return found


_SIDE_OF = np.full(256, _OTHER, np.uint8)
_SIDE_OF[:_OTHER] = range(_OTHER)


def _add_pieces(
    pieces: dict[str, Components],
    number: int,
    marked: ByteArray,
    lung: ByteArray,
    lobe: ByteArray | None,
    place: tuple[int, int],
) -> None:
    """Add a slice to the pieces of each region.

    Parameters
    ----------
    marked, lung, lobe : (rows, columns)
        A box of the slice.
    place
        Row and column of its first pixel.
    """
    column, row, columns, rows = cv2.boundingRect(marked)
    box = slice(row, row + rows), slice(column, column + columns)
    infected, lung = marked[box] > 0, lung[box]
    place = place[0] + row, place[1] + column
    inside = infected & (lung > 0) & (lung < _OTHER)
    parts = {"both": inside, "right": infected & (lung == RIGHT), "left": infected & (lung == LEFT)}
    if lobe is not None:
        parts |= {name: inside & (lobe[box] == label) for name, label in LOBES.items()}
    for name, part in parts.items():
        pieces[name].add(number, part.view(np.uint8), place)


class _Histogram:
    """Voxels by group and HU, some slices at a time."""

    def __init__(self, groups: int) -> None:
        self._counts = np.zeros(groups * _HU_VALUES, np.int64)
        self._groups: list[AnyArray] = []
        self._values: list[AnyArray] = []
        self._size = 0

    def add(self, group: ByteArray, values: AnyArray) -> None:
        """Add the voxels of a slice."""
        self._groups.append(group)
        self._values.append(_whole(values))
        self._size += len(group)
        if self._size >= _GATHERED:
            self._flush()

    @property
    def counts(self) -> Counts:
        """Of all groups, one after the other."""
        self._flush()
        return self._counts

    def _flush(self) -> None:
        if self._groups:
            key = np.concatenate(self._groups).astype(np.int64) * _HU_VALUES
            key += np.concatenate(self._values)
            key -= LOWEST_HU
            self._counts += np.bincount(key, minlength=len(self._counts))
        self._groups, self._values, self._size = [], [], 0


def _whole(values: AnyArray) -> AnyArray:
    """Whole HU in 16 bits."""
    if values.dtype == np.int16:
        return values
    limits = np.iinfo(np.int16)
    whole = np.rint(values) if values.dtype.kind == "f" else values
    return np.clip(whole, limits.min, limits.max).astype(np.int16)
