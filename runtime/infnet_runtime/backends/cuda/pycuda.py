"""A GPU through PyCUDA. The only file that imports it.

PyCUDA has no calls for graphs; some functions of the driver make up for that
(:class:`~infnet_runtime.backends.cuda.driver.DriverGraphs`). ``pycuda.autoinit`` is not used: its context is
one of its own, and shares nothing with TensorRT and ONNX Runtime, which use the primary one.

What PyCUDA made is given back by the thread that made it, or not at all: in another one it passes over its
contexts, streams and memory without a word.
"""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from infnet_runtime.arrays import AnyArray
from infnet_runtime.backends.cuda.device import byte_count, set_up_failed
from infnet_runtime.backends.cuda.driver import DriverGraphs
from infnet_runtime.errors import BackendError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for work that others queue on the default stream


class PyCudaDevice:
    """Satisfies :class:`~infnet_runtime.backends.cuda.device.Device`.

    Raises
    ------
    BackendError
        If PyCUDA cannot be loaded or the GPU cannot be taken.
    """

    def __init__(self, index: int) -> None:
        try:
            import pycuda
            import pycuda.driver as cuda
        except (ImportError, OSError) as error:
            raise BackendError(
                f"PyCUDA is installed and cannot be loaded ({error}); install it again, or use instead: "
                "pip uninstall pycuda, pip install cuda-bindings",
                code=5024,
            ) from error
        self.name = f"pycuda {pycuda.VERSION_TEXT}"
        self._cuda: Any = cuda
        try:
            cuda.init()
            self._context: Any = cuda.Device(index).retain_primary_context()
            self._context.push()
        except cuda.Error as error:
            raise set_up_failed(self.name, index, error) from error
        self._graphs = DriverGraphs()
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}

    def memory(self, size: int) -> int:
        """Allocate."""
        allocation = self._cuda.mem_alloc(size)
        address = int(allocation)
        self._memory[address] = allocation  # freed with its last reference
        return address

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Allocate on the host."""
        array: AnyArray = self._cuda.pagelocked_empty(shape, dtype)
        assert array.nbytes == byte_count(shape, dtype)
        return array

    def stream(self) -> int:
        """Make a stream."""
        stream = self._cuda.Stream(_NON_BLOCKING)
        handle = int(stream.handle)
        self._streams[handle] = stream
        return handle

    def copy_in(self, address: int, host: AnyArray, stream: int) -> None:
        """Queue a copy to the device."""
        self._cuda.memcpy_htod_async(address, host, self._streams[stream])

    def copy_out(self, host: AnyArray, address: int, stream: int) -> None:
        """Queue a copy from the device."""
        self._cuda.memcpy_dtoh_async(host, address, self._streams[stream])

    def synchronize(self, stream: int) -> None:
        """Wait."""
        self._streams[stream].synchronize()

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record a graph."""
        return self._graphs.capture(stream, work)

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        self._graphs.launch(graph, stream)

    def close(self) -> None:
        """Free everything, in the order that PyCUDA needs: while the context is current."""
        if self._context is None:
            return
        self._graphs.close()
        self._streams.clear()
        self._memory.clear()
        # By name: left to its destructor, a primary context is given back by the wrong call. While it is
        # current: of another one, detach() pushes it first and forgets to pop it.
        self._context.detach()
        self._context = None
        self._graphs.leave()  # it is current for the driver still, and PyCUDA can pop it no more
