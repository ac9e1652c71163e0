"""The NVIDIA driver, asked before any TensorRT object is made.

Without a driver TensorRT hands out objects that look whole and end the process when they are used, so it is
never tried and caught. The driver's own library answers, through ``ctypes``.
"""

import ctypes
import sys
from dataclasses import dataclass

from infnet_runtime.errors import BackendError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUdevice_attribute in cuda.h
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


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


def find_gpu(*, library: str = _LIBRARY) -> Gpu:
    """The GPU TensorRT would use: the first one that ``CUDA_VISIBLE_DEVICES`` leaves visible.

    Raises
    ------
    BackendError
        If there is no driver, the driver does not start, or it sees no GPU.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise BackendError(
            f"there is no NVIDIA driver here ({library} cannot be loaded); TensorRT needs one, and a GPU",
            code=5021,
        ) from error
    _call(driver, "cuInit", 0)
    count, version = ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise BackendError(
            "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES", code=5021
        )
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    name, device = ctypes.create_string_buffer(256), ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    major, minor = (_attribute(driver, which, device) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        capability=f"{major}.{minor}",
        driver_cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


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
