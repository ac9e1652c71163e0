"""The array types that signatures name, each with one meaning in all packages, and arrays of mostly zeros."""

import math
import mmap
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ByteArray: TypeAlias = npt.NDArray[np.uint8]
HalfArray: TypeAlias = npt.NDArray[np.float16]
FloatArray: TypeAlias = npt.NDArray[np.float32]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
Affine: TypeAlias = npt.NDArray[np.float64]  # (4, 4), from voxel index to NIfTI world in mm

_LARGE_BYTES = 1 << 22  # from here on NumPy asks for large pages


def sparse_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> AnyArray:
    """Zeros that take memory only where something else is written, 4 KiB at a time.

    Of an ordinary array Linux would give 2 MiB at a time, as NumPy asks it to: all of a mask with something
    in every eighth slice. On other systems, and where it is small, the array is an ordinary one.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < _LARGE_BYTES or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.zeros(shape, dtype)
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # with NumPy's own error, if need be
        return np.zeros(shape, dtype)
    with suppress(OSError):  # a system without large pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def zeros_in(target: AnyArray | None, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> AnyArray:
    """An array to be filled in, all 0: the one that is given, or one of :func:`sparse_zeros`."""
    if target is None:
        return sparse_zeros(shape, dtype)
    target[...] = 0
    return target
