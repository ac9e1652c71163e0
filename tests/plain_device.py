"""The memory of this process in place of a GPU, for tests of what runs on one.

Nothing is done before somebody waits for it, as on a GPU that is slow: a runner that reuses a buffer too
early, or reads one too early, gets wrong numbers every time and not once in a while.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray

Work = Callable[[], None]


class PlainDevice:
    """Satisfies :class:`~infnet_runtime.backends.cuda.device.Device`."""

    name = "plain memory"

    def __init__(self) -> None:
        self._memory: dict[int, npt.NDArray[np.uint8]] = {}
        self._queues: dict[int, deque[Work]] = {}
        self._graphs: list[list[Work]] = []
        self._recording: list[Work] | None = None
        self._depth = 0
        self.closed = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Note that the device is current."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def memory(self, size: int) -> int:
        """Allocate."""
        self._check_current()
        block = np.full(size, 0xFF, np.uint8)  # NaN as float32: what was not written cannot pass for a result
        address = block.ctypes.data
        self._memory[address] = block
        return int(address)

    def at(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """The array at an address of the device; a view."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._memory[address][:size].view(dtype).reshape(shape)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Allocate on the host."""
        self._check_current()
        return np.full(shape, np.nan).astype(dtype)

    def stream(self) -> int:
        """Make a stream."""
        self._check_current()
        handle = len(self._queues) + 1
        self._queues[handle] = deque()
        return handle

    def copy_in(self, address: int, host: AnyArray, stream: int) -> None:
        """Queue a copy to the device."""
        self.queue(stream, lambda: np.copyto(self.at(address, host.shape, host.dtype), host))

    def copy_out(self, host: AnyArray, address: int, stream: int) -> None:
        """Queue a copy from the device."""
        self.queue(stream, lambda: np.copyto(host, self.at(address, host.shape, host.dtype)))

    def queue(self, stream: int, work: Work) -> None:
        """Queue anything; this is what a kernel is here."""
        self._check_current()
        (self._queues[stream] if self._recording is None else self._recording).append(work)

    def synchronize(self, stream: int) -> None:
        """Do what is queued."""
        self._check_current()
        waiting = self._queues[stream]
        while waiting:
            waiting.popleft()()

    def capture(self, stream: int, work: Work) -> int:
        """Record a graph."""
        self._check_current()
        assert not self._queues[stream], "capture on a stream with work on it"
        self._recording = []
        try:
            work()
            self._graphs.append(self._recording)
        finally:
            self._recording = None
        return len(self._graphs) - 1

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        for work in self._graphs[graph]:
            self.queue(stream, work)

    def close(self) -> None:
        """Forget everything."""
        self._memory.clear()
        self._queues.clear()
        self.closed = True

    def _check_current(self) -> None:
        assert self._depth, "the device is not current"
        assert not self.closed, "the device is closed"
