"""Fewer planes through the network where they lie close together, and the planes between them.

Only where it is asked for (``fast``). Of each stretch of lung the first and the last plane run, and of those
between as many that neighbours are at most :data:`FARTHEST_MM` apart: none that is left out is farther than
half of it from one that ran. Between two that ran the probabilities, on the scan's grid and calibrated, are
interpolated linearly by the distance in mm. What that costs in accuracy: ``docs/fast.md``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.grid import Grid

FARTHEST_MM = 3.0
# Spacings in headers are float32, and often rounded to a few digits.
_ROUNDING = 1e-3


def step_between(spacing_mm: float) -> int:
    """How many planes further the next plane is that runs, at most; 1 where all of them do.

    Examples
    --------
    >>> [step_between(spacing) for spacing in (0.5, 0.7, 1.0, 1.25, 1.5, 1.6, 5.0)]
    [6, 4, 3, 2, 2, 1, 1]
    """
    return max(1, math.floor(FARTHEST_MM / spacing_mm * (1 + _ROUNDING)))


def planes_to_run(with_lung: Sequence[int], step: int) -> list[int]:
    """Planes that go through the network: of each stretch the first, the last, and some spread evenly.

    Parameters
    ----------
    with_lung
        Planes with lung, rising.
    step
        The most planes from one that runs to the next.

    Examples
    --------
    >>> planes_to_run([0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 20], 3)
    [0, 2, 4, 7, 10, 12, 20]
    """
    chosen: list[int] = []
    for first, last in _stretches(with_lung):
        parts = max(1, math.ceil((last - first) / step))
        chosen += dict.fromkeys(first + i * (last - first) // parts for i in range(parts + 1))
    return chosen


def _stretches(planes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of planes that follow each other."""
    if not planes:
        return
    first = before = planes[0]
    for plane in planes[1:]:
        if plane != before + 1:
            yield first, before
            first = plane
        before = plane
    yield first, before


def remark(grid: Grid, *, with_lung: int, run: int) -> Flag:
    """What ``fast`` did, for the reader of the numbers.

    Parameters
    ----------
    grid
        Of the scan.
    with_lung, run
        Number of planes.
    """
    spacing_mm = grid.lps_spacing_mm[0]
    if run < with_lung:
        return Flag(
            "slices_interpolated",
            f"fast: {with_lung - run} of {with_lung} slices with lung did not go through the network, but "
            f"were interpolated between slices at most {step_between(spacing_mm) * spacing_mm:.3g} mm apart: "
            "mask and millilitres differ from those of a full run, by a few percent or more",
            warns=False,
        )
    if not grid.has_size:
        why = "fast: no effect: the input has no voxel size"
    elif step_between(spacing_mm) == 1:
        why = (
            f"fast: no effect at {spacing_mm:.3g} mm: slices have to be {FARTHEST_MM / 2:g} mm apart or less"
        )
    else:
        why = "fast: no effect: no slice lies between two others with lung"
    return Flag("fast_without_effect", f"{why}. All slices with lung went through the network", warns=False)


class Between:
    """Probabilities of the planes between those that run, as these come in.

    Of the planes that ran no more than two are held.

    Parameters
    ----------
    with_lung
        Planes that are wanted.
    on_grid
        What :meth:`after` is given of one plane to its probabilities (rows, columns) on the scan's grid.
    """

    def __init__(self, with_lung: Sequence[int], on_grid: Callable[[FloatArray], FloatArray]) -> None:
        self._with_lung, self._on_grid = frozenset(with_lung), on_grid
        self._below: _Plane | None = None

    def after(
        self, numbers: Sequence[int], planes: FloatArray, matters: Sequence[bool]
    ) -> Iterator[tuple[int, FloatArray]]:
        """Take planes that ran, and give those between them and below.

        Parameters
        ----------
        numbers : (n,)
            Rising, and above all that were taken before.
        planes : (n, ...)
            As the network gave them.
        matters : (n,)
            Nothing is given between two planes that do not matter. No voxel between is more probable than in
            both of them, so that two planes without infection have none between them.

        Yields
        ------
        Number of a plane, and its probabilities (rows, columns).
        """
        last = len(numbers) - 1
        for index, number in enumerate(numbers):
            plane = planes[index].copy() if index == last else planes[index]  # the last outlives its batch
            above = _Plane(number, matters[index], plane, self._on_grid)
            if self._below is not None and (self._below.matters or above.matters):
                yield from self._planes(self._below, above)
            self._below = above

    def _planes(self, below: "_Plane", above: "_Plane") -> Iterator[tuple[int, FloatArray]]:
        for number in range(below.number + 1, above.number):
            if number in self._with_lung:
                share = (number - below.number) / (above.number - below.number)
                yield number, interpolated(below.probability, above.probability, share)


class _Plane:
    """A plane that ran; it is brought to the scan's grid once, and only where that is needed."""

    def __init__(
        self, number: int, matters: bool, plane: FloatArray, on_grid: Callable[[FloatArray], FloatArray]
    ) -> None:
        self.number, self.matters = number, matters
        self._plane, self._on_grid = plane, on_grid

    @cached_property
    def probability(self) -> FloatArray:
        """(rows, columns)."""
        return self._on_grid(self._plane)


def interpolated(below: FloatArray, above: FloatArray, share: float) -> FloatArray:
    """Probabilities between two planes.

    Parameters
    ----------
    share
        Of the way from ``below`` to ``above``.

    Examples
    --------
    >>> interpolated(np.float32([0.0, 1.0]), np.float32([1.0, 0.5]), 0.25).tolist()
    [0.25, 0.875]
    """
    between: FloatArray = above - below
    between *= np.float32(share)
    between += below
    return between
