"""A volume that comes plane by plane, while the scan is still being reconstructed.

What can be done with a plane alone is done when it comes, in the thread that brings it: its values are
checked, it is copied to its place where the stream keeps the volume, and it is averaged onto the reduced grid
on which the lungs are looked for. All else needs the whole scan and is done at the end: the lungs, what is
doubtful, and the network, which is given the box around both lungs (``docs/decisions/0018-stream.md``).
"""

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError
from infnet_runtime.host.buffers import VOXEL_TYPES, plane_view, volume_view
from infnet_runtime.lungs.arriving import ArrivingScan
from infnet_runtime.lungs.reduced import Reduced
from infnet_runtime.scan.ct import Intensity, check_values
from infnet_runtime.scan.grid import Grid, lps_axes
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.scan.rescaled import rescaled
from infnet_runtime.segment.result import Segmentation

_MOST_NAMED = 10  # of the planes that are missing
_MISSING, _COMING, _THERE = range(3)


class Finish(Protocol):
    """The path of a volume whose planes are all there."""

    def __call__(
        self, voxels: AnyArray, lungs: AnyArray | LungMask | None, reduced: Reduced | None
    ) -> Segmentation:
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
    axis = lps_axes(grid.affine)[0][0]
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


class Stream:
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
        Lung mask, if it is known before the scan is there.
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
        lungs: AnyArray | LungMask | None,
        finish: Finish,
        within: Callable[[], AbstractContextManager[None]],
    ) -> None:
        axes, flips = lps_axes(grid.affine)
        self._axis, self._runs_down = axes[0], flips[0].step == -1
        self._intensity, self._scaling, self._name, self._lungs = intensity, scaling, name, lungs
        planes = _Planes(grid.to_lps(voxels), scaling, name)
        self._is_host_memory = is_host_memory
        self._within = within
        self._changed = threading.Condition()  # for all below
        self._voxels: AnyArray | None = voxels
        self._finish: Finish | None = finish
        self._arriving = ArrivingScan(planes, grid.lps_spacing_mm, intensity) if lungs is None else None
        self._state = np.full(voxels.shape[self._axis], _MISSING, np.uint8)
        self._is_finishing = self._is_done = False

    @property
    def planes(self) -> int:
        """How many planes the scan has, along the stored axis nearest to the body's."""
        return len(self._state)

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the planes that are not there yet."""
        with self._changed:
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
        with self._coming(k) as (index, voxels, arriving), self._within():
            target = np.moveaxis(voxels, self._axis, 0)[index]
            named = f"plane {index} of {self._name}"
            given = target if self._is_host_memory else plane_view(plane, target.shape, target.dtype, named)
            check_values(values_of(given, self._scaling, named), self._intensity, named)
            if not self._is_host_memory:
                target[...] = given
            if arriving is not None:
                arriving.arrived(self.planes - 1 - index if self._runs_down else index)

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
    def _coming(self, k: int) -> Iterator[tuple[int, AnyArray, ArrivingScan | None]]:
        """A plane that is about to be there, and is at the end of the block."""
        with self._changed:
            voxels = self._open_voxels()
            arriving = self._arriving
            index = self._free(k)
            self._state[index] = _COMING
        arrived = _MISSING
        try:
            yield index, voxels, arriving
            arrived = _THERE
        finally:
            with self._changed:
                self._state[index] = arrived
                self._changed.notify_all()

    def _open_voxels(self) -> AnyArray:
        """The volume, while the stream is open."""
        if self._voxels is None:
            found = "has ended"
        elif self._is_finishing:
            found = "has all its planes and is being segmented"
        else:
            return self._voxels
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

    def finish(self, *, lungs: AnyArray | LungMask | None = None) -> Segmentation:
        """Segment the scan, whose planes are all there.

        It waits for planes that other threads are still pushing. When it raises, the planes are kept: it may
        be called again, with other lungs for example, until the stream is closed.

        Parameters
        ----------
        lungs : (i, j, k)
            Lung mask on the scan's grid, instead of the one that the stream was opened with.

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
        with self._changed:
            self._open_voxels()
            while (self._state == _COMING).any():
                self._changed.wait()
            voxels = self._open_voxels()
            if (self._state == _MISSING).any():
                raise self._missing_planes()
            finish, arriving = self._finish, self._arriving
            self._is_finishing = True
        assert finish is not None
        try:
            used = self._lungs if lungs is None else lungs
            result = finish(voxels, used, None if arriving is None else arriving.finished)
        except BaseException:
            with self._changed:
                self._is_finishing = False
            raise
        self.close()
        return result

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
        with self._changed:
            self._voxels = self._finish = self._arriving = self._lungs = None

    def __enter__(self) -> Self:
        """Return the stream, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
