"""A volume that comes plane by plane, while the scan is still being reconstructed.

What can be done with a plane alone is done when it comes, in the thread that brings it: its values are
checked, it is copied to its place where the stream keeps the volume, it is averaged onto the reduced grid on
which the lungs are looked for, and of HU the air around the body is left out there. All else needs the whole
scan and is done at the end: the lungs, what is doubtful, and the network, which is given the box around both
lungs (``docs/decisions/0018-stream.md``).
"""

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.backends.session import ClosedByBlock
from infnet_runtime.errors import InputError
from infnet_runtime.host.buffers import VOXEL_TYPES, known_grid, plane_view, volume_view
from infnet_runtime.lungs.arriving import ArrivingScan
from infnet_runtime.lungs.reduced import Reduced, ReducedScan
from infnet_runtime.scan.ct import Intensity, check_values
from infnet_runtime.scan.grid import Grid, lps_axes
from infnet_runtime.scan.rescaled import rescaled
from infnet_runtime.segment.result import Segmentation

_MOST_NAMED = 10  # of the planes that are missing
_MISSING, _COMING, _THERE = range(3)


class Finish(Protocol):
    """The path of a volume whose planes are all there."""

    def __call__(self, voxels: AnyArray, lungs: object, reduced: Reduced | None) -> Segmentation:
        """Segment it; ``reduced`` gives what ``reduce_scan`` makes of it."""


def memory_of(grid: Grid, dtype: str | None, voxels: object, name: str) -> AnyArray:
    """Where the planes of a stream are kept: the host's memory, or some of its own.

    Parameters
    ----------
    dtype
        Of the planes; int16 where absent, or that of ``voxels``.
    voxels : (i, j, k)
        The host's memory, if it is to be read where it is.

    Returns
    -------
    (i, j, k)
        Of the stream's own: each plane in one piece, and taken from the system as planes come.

    Raises
    ------
    InputError
        If the type is none of a volume or not that of ``voxels``, or there is no memory.
    """
    if voxels is not None:
        memory = volume_view(voxels, grid, name)
        if dtype is not None and memory.dtype.name != dtype:
            raise InputError(
                f"a stream of {dtype} for {name}, whose voxels= have the type {memory.dtype}, expected the "
                "same; leave dtype= out",
                code=3236,
            )
        return memory
    kind = "int16" if dtype is None else str(dtype)
    if kind not in VOXEL_TYPES:
        raise InputError(
            f"a stream of {kind} for {name}, expected the type of its planes: {' or '.join(VOXEL_TYPES)}",
            code=3236,
        )
    axis = lps_axes(known_grid(grid, name).affine)[0][0]
    planes_first = grid.shape[axis], *grid.shape[:axis], *grid.shape[axis + 1 :]
    try:
        return np.moveaxis(np.empty(planes_first, kind), 0, axis)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"no memory for {name}, {grid.shape} voxels of {kind} ({error}); check the shape of the grid, or "
            "give memory of your own (voxels=)",
            code=3237,
        ) from error


class _Planes:
    """Values of the planes of a volume that is still coming, plane by plane.

    Which type holds all of its values is known at the end; till then each plane has one that holds its own.

    Parameters
    ----------
    stored : (slice, row, column)
    scaling
        Slope and intercept.
    """

    def __init__(self, stored: AnyArray, scaling: tuple[float, float], name: str) -> None:
        self._stored, self._scaling, self._name = stored, scaling, name
        self.shape: tuple[int, ...] = stored.shape

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, k: int, /) -> AnyArray:
        return values_of(self._stored[k], self._scaling, self._name)


def values_of(plane: AnyArray, scaling: tuple[float, float], name: str) -> AnyArray:
    """The values of a plane's numbers."""
    values: AnyArray = rescaled(plane[np.newaxis], *scaling, source=name)[0]
    return values


@dataclass(eq=False)
class _Held:
    """What a stream lets go of when it ends."""

    voxels: AnyArray
    lungs: object
    arriving: ArrivingScan | None
    finish: Finish

    def reduced(self) -> ReducedScan | None:
        """What was made of the planes as they came, given away: its memory is free when lungs are found."""
        arriving, self.arriving = self.arriving, None
        assert arriving is not None
        return arriving.finished()


class Stream(ClosedByBlock):
    """A scan that is still coming; made by :meth:`infnet_runtime.Segmenter.stream`.

    Use it as a context manager, or close it: it then lets go of its memory. It has no threads. Planes may be
    pushed from any number of threads, in any order, each once.

    Parameters
    ----------
    voxels : (i, j, k)
        Where the planes are kept: the host's own memory, or the stream's.
    is_host_memory
        Whether the planes are written to ``voxels`` by the host.
    grid
        Where the voxels lie, axes in the order of ``voxels``.
    name
        What messages call the scan.
    scaling
        Slope and intercept of the numbers, checked.
    lungs : (i, j, k)
        Lung mask, if it is known before the scan is there, as of ``predict_buffer``.
    finish
        Segments the whole volume.
    within
        The conditions under which a plane is worked on: threads, cancellation.
    """

    def __init__(
        self,
        voxels: AnyArray,
        *,
        is_host_memory: bool,
        grid: Grid,
        intensity: Intensity,
        scaling: tuple[float, float],
        name: str,
        lungs: object,
        finish: Finish,
        within: Callable[[], AbstractContextManager[None]],
    ) -> None:
        axes, flips = lps_axes(grid.affine)
        self._axis, self._runs_down = axes[0], flips[0].step == -1
        self._intensity, self._scaling, self._name = intensity, scaling, name
        planes = _Planes(grid.to_lps(voxels), scaling, name)
        self._is_host_memory = is_host_memory
        self._within = within
        self._changed = threading.Condition()  # for all below
        arriving = ArrivingScan(planes, grid.lps_spacing_mm, intensity) if lungs is None else None
        self._held: _Held | None = _Held(voxels, lungs, arriving, finish)
        self._state = np.full(voxels.shape[self._axis], _MISSING, np.uint8)
        self._is_finishing = False

    @property
    def planes(self) -> int:
        """How many planes the scan has, along the stored axis nearest to the body's."""
        return len(self._state)

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the planes that are not there yet."""
        return tuple(int(k) for k in np.flatnonzero(self._state != _THERE))

    def push(self, k: int, plane: object = None) -> None:
        """Say that a plane is there, and give it where the stream keeps the volume.

        The plane is done with when the call comes back; where the volume is the host's own, it stays as it is
        until the stream has ended. A plane that is refused changes nothing, and may be pushed again.

        Parameters
        ----------
        k
            Number of the plane along the stored axis, from 0 on.
        plane : the two other axes, in stored order
            A buffer of the stream's type, as for :meth:`infnet_runtime.Segmenter.predict_buffer`; absent
            where the volume is the host's own.

        Raises
        ------
        InputError
            If there is no such plane, it is there already, it is of another shape or type, a value is
            not finite, windowed grey leaves 0..255, or the stream has ended.
        Cancelled
            If the run was cancelled.
        """
        self._refuse_two_places(k, plane)
        with self._within(), self._coming(k) as (index, held):
            kept = np.moveaxis(held.voxels, self._axis, 0)[index]
            named = f"plane {index} of {self._name}"
            if not self._is_host_memory:
                kept[...] = plane_view(plane, kept.shape, kept.dtype, named)
            check_values(values_of(kept, self._scaling, named), self._intensity, named)
            if held.arriving is not None:
                held.arriving.arrived(self.planes - 1 - index if self._runs_down else index)

    def _refuse_two_places(self, k: int, plane: object) -> None:
        """There is one place for the voxels of a plane, and it is said once."""
        if self._is_host_memory and plane is not None:
            raise InputError(
                f"plane {k} of {self._name} was given, but the stream reads the memory that it was opened "
                "with (voxels=): write the plane there, and push its number only",
                code=3233,
            )
        if not self._is_host_memory and plane is None:
            raise InputError(
                f"plane {k} of {self._name} was pushed without its voxels, and the stream keeps the volume "
                "itself: give the plane, or open the stream on memory of your own (voxels=)",
                code=3233,
            )

    @contextmanager
    def _coming(self, k: int) -> Iterator[tuple[int, _Held]]:
        """A plane that is about to be there, and is at the end of the block."""
        with self._changed:
            held = self._open()
            index = self._free(k)
            self._state[index] = _COMING
        arrived = _MISSING
        try:
            yield index, held
            arrived = _THERE
        finally:
            with self._changed:
                self._state[index] = arrived
                self._changed.notify_all()

    def _open(self) -> _Held:
        """What the stream holds while it is open."""
        held = self._held
        if held is None:
            found = "has ended"
        elif self._is_finishing:
            found = "has all its planes and is being segmented"
        else:
            return held
        raise InputError(
            f"the stream of {self._name} {found}, expected an open one; open another for the next scan",
            code=3234,
        )

    def _free(self, k: int) -> int:
        """Number of a plane that may come."""
        try:
            index = operator.index(k)
        except TypeError:
            index = -1
        if isinstance(k, bool) or not 0 <= index < self.planes:
            raise InputError(
                f"plane {k!r} of {self._name}, expected a whole number from 0 to {self.planes - 1}: it "
                "counts along the axis of the grid that is nearest to the axis of the body",
                code=3230,
            )
        if self._state[index] != _MISSING:
            raise InputError(
                f"plane {index} of {self._name} is there already, expected each plane once: nothing was "
                "changed; number planes along the stored axis, or open another stream for another scan",
                code=3231,
            )
        return index

    def finish(self, *, lungs: object = None) -> Segmentation:
        """Segment the scan, whose planes are all there.

        It waits for planes that other threads are still pushing. When it raises, the planes are kept: it may
        be called again, with other lungs for example, until the stream is closed.

        Parameters
        ----------
        lungs : (i, j, k)
            Lung mask on the scan's grid as any buffer, instead of that which the stream was opened with.

        Returns
        -------
        What ``predict`` gives for the whole volume, to the bit.

        Raises
        ------
        InputError
            If planes are missing, the stream has ended, or the scan or the lungs are refused.
        GateError, Cancelled
            As of ``predict``.
        """
        with self._within(), self._all_there() as held:
            reduced = None if held.arriving is None else held.reduced  # made of the volume if done again
            result = held.finish(held.voxels, held.lungs if lungs is None else lungs, reduced)
            self.close()
            return result

    @contextmanager
    def _all_there(self) -> Iterator[_Held]:
        """What is held, once all planes are there; in the block none can come."""
        with self._changed:
            while True:
                held = self._open()
                if not (self._state == _COMING).any():
                    break
                self._changed.wait()
            if (self._state == _MISSING).any():
                raise self._missing_planes()
            self._is_finishing = True
        try:
            yield held
        finally:
            self._is_finishing = False

    def _missing_planes(self) -> InputError:
        missing = np.flatnonzero(self._state == _MISSING)
        named = ", ".join(str(k) for k in missing[:_MOST_NAMED]) + (
            ", ..." if len(missing) > _MOST_NAMED else ""
        )
        return InputError(
            f"{len(missing)} of {self.planes} planes of {self._name} are missing ({named}), expected all of "
            "them: a scan with holes is not segmented; push them and finish again",
            code=3235,
        )

    def close(self) -> None:
        """Let go of the volume and all that was made of it; a result of ``finish`` keeps what it holds."""
        self._held = None
