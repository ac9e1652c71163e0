"""The memory of this process in place of a GPU, for tests of what runs on one.

Nothing is done before somebody waits for it, as on a GPU that is slow: a runner that reuses a buffer too
early, or reads one too early, gets wrong numbers every time and not once in a while. What a real GPU answers
with a leak or the end of the process is an assertion here: another thread, memory used after its end.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray
from infnet_runtime.backends.cuda.device import byte_count

Work = Callable[[], None]
ALIGNMENT = 256  # of memory of a GPU


class OutOfMemory(RuntimeError):
    """What the driver says."""

    def __init__(self) -> None:
        super().__init__("cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY")


class PlainGpu:
    """What devices are opened on: so much memory, and a diary of what ended in which order.

    Parameters
    ----------
    size
        Bytes there are.
    """

    def __init__(self, size: int = 1 << 30) -> None:
        self.size, self.used = size, 0
        self.steps_left: int | None = None
        """Allocations that still succeed, of any kind; all where absent."""
        self.diary: list[str] = []
        self.devices: list[PlainDevice] = []

    def open(self, index: int = 0) -> "PlainDevice":
        """Open a device for the calling thread."""
        return PlainDevice(self)

    def take(self, size: int) -> None:
        """Count memory as used, by a device or by a library.

        Raises
        ------
        OutOfMemory
            If there is not so much left, or the steps are used up.
        """
        if self.steps_left is not None:
            self.steps_left -= 1
        if self.used + size > self.size or self.steps_left == -1:
            raise OutOfMemory
        self.used += size

    def give_back(self, size: int) -> None:
        """The opposite of ``take``."""
        self.used -= size
        assert self.used >= 0


class PlainDevice:
    """Satisfies :class:`~infnet_runtime.backends.cuda.device.Device`."""

    name = "plain memory"

    def __init__(self, gpu: PlainGpu | None = None) -> None:
        self.gpu = gpu or PlainGpu()
        self.gpu.devices.append(self)
        self._memory: dict[int, npt.NDArray[np.uint8]] = {}
        self._blocks: list[npt.NDArray[np.uint8]] = []
        self._pinned: list[weakref.ref[AnyArray]] = []
        self._queues: dict[int, deque[Work]] = {}
        self._graphs: list[list[Work]] = []
        self._recording: list[Work] | None = None
        self._thread: int | None = None
        self._taken = 0
        self.closed = False

    def memory(self, size: int) -> int:
        """Allocate."""
        self._check()
        assert size > 0, "the driver refuses an allocation of nothing"
        self._take(size)
        # NaN as float32: what was not written cannot pass for a result
        block = np.full(size + ALIGNMENT, 0xFF, np.uint8)
        self._blocks.append(block)
        start = -block.ctypes.data % ALIGNMENT
        address = int(block.ctypes.data + start)
        self._memory[address] = block[start : start + size]
        return address

    def size_at(self, address: int) -> int:
        """Bytes that were allocated at an address; 0 where there are none."""
        return self._memory[address].nbytes if address in self._memory else 0

    def at(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """The array at an address of the device; a view."""
        return self._memory[address][: byte_count(shape, dtype)].view(dtype).reshape(shape)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Allocate on the host."""
        self._check()
        self._take(0)
        array = np.full(shape, np.nan).astype(dtype)
        self._pinned.append(weakref.ref(array))
        return array

    def stream(self) -> int:
        """Make a stream."""
        self._check()
        self._take(0)
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
        self._check()
        (self._queues[stream] if self._recording is None else self._recording).append(work)

    def synchronize(self, stream: int) -> None:
        """Do what is queued."""
        self._check()
        waiting = self._queues[stream]
        while waiting:
            waiting.popleft()()

    def capture(self, stream: int, work: Work) -> int:
        """Record a graph."""
        self._check()
        self._take(0)
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

    @property
    def recording(self) -> bool:
        """Whether a graph is being recorded."""
        return self._recording is not None

    def close(self) -> None:
        """Forget everything."""
        if self.closed:
            return
        self._check()
        self._queues.clear()
        self._graphs.clear()
        assert not any(reference() is not None for reference in self._pinned), "pinned memory is in use"
        self._memory.clear()
        self._blocks.clear()
        self.gpu.give_back(self._taken)
        self.gpu.diary.append("device closed")
        self.closed = True

    def _take(self, size: int) -> None:
        self.gpu.take(size)
        self._taken += size

    def _check(self) -> None:
        self._thread = self._thread or threading.get_ident()
        assert self._thread == threading.get_ident(), "the device is used by another thread"
        assert not self.closed, "the device is closed"
