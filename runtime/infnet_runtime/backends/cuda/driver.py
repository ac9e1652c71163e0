"""The NVIDIA driver through ``ctypes``: which GPU is there, and graphs of recorded work.

It is asked before any TensorRT object is made. Without a driver TensorRT hands out objects that look whole
and end the process when they are used, so it is never tried and caught.
"""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

from infnet_runtime.errors import BackendError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUdevice_attribute in cuda.h
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do is no matter


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, and the driver it is used with.

    Parameters
    ----------
    capability
        Compute capability, such as ``9.0``.
    driver_cuda
        Newest CUDA the driver knows, such as ``13.0``.
    """

    name: str
    capability: str
    driver_cuda: str


def find_gpu(index: int = 0, *, library: str = _LIBRARY) -> Gpu:
    """A GPU, by its number among those that ``CUDA_VISIBLE_DEVICES`` leaves visible.

    Raises
    ------
    BackendError
        If there is no driver, the driver does not start, or it sees no such GPU.
    """
    driver = _load(library)
    _call(driver, "cuInit", 0)
    count, version = ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise BackendError(
            "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES", code=5021
        )
    if index >= count.value:
        raise BackendError(
            f"device 'cuda:{index}' was asked for, the NVIDIA driver sees {count.value} GPU(s), counted from "
            "0; check nvidia-smi and CUDA_VISIBLE_DEVICES",
            code=5013,
        )
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    name, device = ctypes.create_string_buffer(256), ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    major, minor = (_attribute(driver, which, device) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        capability=f"{major}.{minor}",
        driver_cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


class DriverError(RuntimeError):
    """The driver refused a call."""


class DriverGraphs:
    """Graphs of recorded work, for packages that have no calls for them, in the current context.

    Streams and graphs are the driver's handles, as numbers.

    Raises
    ------
    BackendError
        If there is no driver.
    """

    def __init__(self, *, library: str = _LIBRARY) -> None:
        self._driver = _load(library)
        self._graphs: list[int] = []

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what ``work`` queues on a stream, without doing it -> a graph."""
        recorded, graph = ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL)
        try:
            work()
        except BaseException:
            # The stream must leave the recording; the first error is the one to tell.
            self._driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(recorded))
            if recorded.value is not None:
                self._driver.cuGraphDestroy(recorded)
            raise
        self._do("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(recorded))
        self._do("cuGraphInstantiateWithFlags", ctypes.byref(graph), recorded, ctypes.c_ulonglong(0))
        self._do("cuGraphDestroy", recorded)
        assert graph.value is not None
        self._graphs.append(graph.value)
        return graph.value

    def launch(self, graph: int, stream: int) -> None:
        """Queue a graph."""
        self._do("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def close(self) -> None:
        """Destroy all graphs."""
        while self._graphs:
            self._do("cuGraphExecDestroy", ctypes.c_void_p(self._graphs.pop()))

    def leave(self) -> None:
        """Take the current context off the thread."""
        self._do("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _do(self, function: str, *arguments: object) -> None:
        status: int = getattr(self._driver, function)(*arguments)
        if status:
            raise DriverError(f"{function}: CUDA error {status}")


def _load(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise BackendError(
            f"there is no NVIDIA driver here ({library} cannot be loaded); CUDA and TensorRT need one, and a "
            "GPU",
            code=5021,
        ) from error


def _attribute(driver: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), which, device)
    return value.value


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status: int = getattr(driver, function)(*arguments)
    if status:
        raise BackendError(
            f"the NVIDIA driver answers {function} with error {status}; check nvidia-smi. 100 means no GPU, "
            "803 a driver that was updated and not loaded yet: restart the machine",
            code=5021,
        )
