"""Memory of a GPU as its driver counts it, without any package: how much is left, and nothing left."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_SMALLEST = 1 << 16


class DriverMemory:
    """Keeps the primary context, so that it is not counted as taken and given back by others."""

    def __init__(self, index: int = 0, *, library: str = "libcuda.so.1") -> None:
        self._driver = ctypes.CDLL(library)
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(self._device), index)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def free_bytes(self) -> int:
        """What is left."""
        left, total = ctypes.c_size_t(), ctypes.c_size_t()
        with self._current():
            self._do("cuMemGetInfo_v2", ctypes.byref(left), ctypes.byref(total))
        return left.value

    @contextmanager
    def full(self) -> Iterator[None]:
        """Take all there is, for a block."""
        taken: list[ctypes.c_void_p] = []
        size = 1 << 34
        with self._current():
            while size >= _SMALLEST:
                pointer = ctypes.c_void_p()
                if self._driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)):
                    size //= 2
                else:
                    taken.append(pointer)
        try:
            yield
        finally:
            with self._current():
                for pointer in taken:
                    self._do("cuMemFree_v2", pointer)

    def close(self) -> None:
        """Give the context back."""
        self._do("cuDevicePrimaryCtxRelease_v2", self._device)

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._do("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._do("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _do(self, function: str, *arguments: object) -> None:
        status = getattr(self._driver, function)(*arguments)
        assert status == 0, f"{function}: CUDA error {status}"
