"""A scan that is reduced while its slices still come, in any order and from several threads.

Two slices are averaged at once, as soon as both are there, and in HU the air around the body is told from
that inside; in windowed grey the level of air is that of the whole scan. What fills the surroundings of a
scanned field is known for certain when all slices are there: until then it is what was seen so far, and at
the end those slices are done again that it was wrong for, in most scans none.
"""

import threading
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray
from infnet_runtime.lungs.open_air import air_inside
from infnet_runtime.lungs.padding import PaddingSearch, padding_in
from infnet_runtime.lungs.reduced import AT_ONCE, ReducedScan, Reduction
from infnet_runtime.scan.ct import Intensity


class Planes(Protocol):
    """Slices by number, (row, column): an array of them, or what gives their values when it is asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of slices, rows and columns."""

    def __len__(self) -> int:
        """Number of slices."""

    def __getitem__(self, k: int, /) -> AnyArray:
        """One of them."""


class ArrivingScan:
    """What ``reduce_scan`` makes of a scan, done as its slices come.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
        In which a slice that has arrived stays what it is; the others are not looked at. Slices of HU may be
        of different types of numbers.
    spacing_mm : mm
        Distance of slices, rows and columns.
    """

    def __init__(self, voxels: Planes, spacing_mm: tuple[float, float, float], intensity: Intensity) -> None:
        self._voxels, self._intensity = voxels, intensity
        self._reduction = Reduction(voxels.shape, spacing_mm, intensity)
        self._search = PaddingSearch(len(voxels), intensity)
        is_hu = intensity is Intensity.HU
        self._inside: BoolArray | None = np.empty(self._reduction.shape, np.bool_) if is_hu else None
        self._there: set[int] = set()
        self._padding_used: dict[int, list[tuple[float, ...]]] = {}  # by group, for each of its slices
        self._lock = threading.Lock()

    def arrived(self, k: int) -> None:
        """Do what can be done now that a slice is there; once more does it again."""
        with self._lock:
            if k in self._search.slices:
                self._search.look_at(k, self._voxels[k])
            self._there.add(k)
            group = self._reduction.group_of(k)
            if group is None or not self._there.issuperset(self._reduction.slices_of(group)):
                return
            filled_with = self._search.around
        self._take(group, filled_with)

    def finished(self) -> ReducedScan | None:
        """Of all slices, which are there; nothing if there is no contrast."""
        filled_with = self._search.values(self._voxels[self._search.middle])
        for group in self._reduction.groups:
            if self._padding_used.get(group) != self._padding_in(group, filled_with):
                self._take(group, filled_with)
        scan = self._reduction.finished()
        return None if scan is None else replace(scan, inside=self._inside)

    def _take(self, group: int, filled_with: tuple[float, ...]) -> None:
        self._reduction.take(group, self._planes(group), filled_with)
        if self._inside is not None and (part := self._reduction.group(group)) is not None:
            for k, found in enumerate(air_inside(part), group * AT_ONCE):
                self._inside[k] = found
        self._padding_used[group] = self._padding_in(group, filled_with)

    def _padding_in(self, group: int, filled_with: tuple[float, ...]) -> list[tuple[float, ...]]:
        counted = partial(padding_in, values=filled_with, intensity=self._intensity)
        return [counted(plane) for plane in self._planes(group)]

    def _planes(self, group: int) -> list[AnyArray]:
        return [self._voxels[k] for k in self._reduction.slices_of(group)]
