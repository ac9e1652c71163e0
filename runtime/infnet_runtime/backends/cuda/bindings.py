"""A GPU through NVIDIA's cuda-bindings. The only file that imports it."""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray
from infnet_runtime.backends.cuda.device import byte_count, set_up_failed
from infnet_runtime.errors import BackendError

logger = logging.getLogger(__name__)

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for work that others queue on the default stream


class CudaError(RuntimeError):
    """The driver refused a call."""


class BindingsDevice:
    """Satisfies :class:`~infnet_runtime.backends.cuda.device.Device`.

    Raises
    ------
    BackendError
        If cuda-bindings cannot be loaded or the GPU cannot be taken.
    """

    def __init__(self, index: int) -> None:
        try:
            import cuda.bindings
            from cuda.bindings import driver
        except (ImportError, OSError) as error:
            raise BackendError(
                f"cuda-bindings is installed and cannot be loaded ({error}); install it again: "
                "pip install --force-reinstall cuda-bindings",
                code=5024,
            ) from error
        self.name = f"cuda-bindings {cuda.bindings.__version__}"
        self._driver: Any = driver
        try:
            self._call("cuInit", 0)
            self._device: Any = self._call("cuDeviceGet", index)
            self._call("cuCtxPushCurrent", self._call("cuDevicePrimaryCtxRetain", self._device))
        except RuntimeError as error:  # of the driver, or that there is no driver
            raise set_up_failed(self.name, index, error) from error
        self._closed = False
        self._memory: list[Any] = []
        self._pinned: list[int] = []
        self._streams: dict[int, Any] = {}
        self._graphs: dict[int, Any] = {}

    def memory(self, size: int) -> int:
        """Allocate."""
        pointer = self._call("cuMemAlloc", size)
        self._memory.append(pointer)
        return int(pointer)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Allocate on the host."""
        size = byte_count(shape, dtype)
        address = int(self._call("cuMemHostAlloc", size, 0))
        self._pinned.append(address)
        block = (ctypes.c_ubyte * size).from_address(address)
        array: AnyArray = np.frombuffer(memoryview(block), np.uint8).view(dtype).reshape(shape)
        return array

    def stream(self) -> int:
        """Make a stream."""
        stream = self._call("cuStreamCreate", _NON_BLOCKING)
        self._streams[int(stream)] = stream
        return int(stream)

    def copy_in(self, address: int, host: AnyArray, stream: int) -> None:
        """Queue a copy to the device."""
        self._call("cuMemcpyHtoDAsync", address, host.ctypes.data, host.nbytes, self._streams[stream])

    def copy_out(self, host: AnyArray, address: int, stream: int) -> None:
        """Queue a copy from the device."""
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, address, host.nbytes, self._streams[stream])

    def synchronize(self, stream: int) -> None:
        """Wait."""
        self._call("cuStreamSynchronize", self._streams[stream])

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record a graph."""
        own = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._streams[stream], own)
        try:
            work()
        except BaseException:
            # The stream must leave the recording; the first error is the one to tell.
            status, recorded = self._driver.cuStreamEndCapture(self._streams[stream])
            if status == self._driver.CUresult.CUDA_SUCCESS:
                self._driver.cuGraphDestroy(recorded)
            raise
        recorded = self._call("cuStreamEndCapture", self._streams[stream])
        graph = self._call("cuGraphInstantiate", recorded, 0)
        self._call("cuGraphDestroy", recorded)
        self._graphs[int(graph)] = graph
        return int(graph)

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        self._call("cuGraphLaunch", self._graphs[graph], self._streams[stream])

    def close(self) -> None:
        """Free everything."""
        if self._closed:
            return
        self._closed = True
        for function, things in (
            ("cuGraphExecDestroy", self._graphs.values()),
            ("cuStreamDestroy", self._streams.values()),
            ("cuMemFree", self._memory),
            ("cuMemFreeHost", self._pinned),
        ):
            for thing in things:
                self._release(function, thing)
        self._release("cuCtxPopCurrent")
        self._release("cuDevicePrimaryCtxRelease", self._device)

    def _release(self, function: str, *things: object) -> None:
        """Free something. After a failure on the GPU all calls fail, and that failure is the one to tell."""
        try:
            self._call(function, *things)
        except CudaError as error:
            logger.debug("%s", str(error))

    def _call(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - untyped library
        status, *values = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise CudaError(f"{function}: {status.name}")
        return values[0] if values else None
