"""One plane of a volume in one piece of memory, which OpenCV asks for, and quick work needs."""

import numpy as np

from infnet_runtime.arrays import AnyArray

_KNOWN_TO_OPENCV = frozenset(np.dtype(kind) for kind in ("u1", "u2", "i2", "i4", "f4"))


def contiguous(plane: AnyArray) -> AnyArray:
    """A plane with its columns side by side in memory; a copy only where they are not.

    The planes of most files run against LPS. OpenCV turns one in a fifth of the time NumPy takes to copy it.

    Parameters
    ----------
    plane : (row, column)
        Of any type and strides; it is not changed.
    """
    if plane.flags.c_contiguous or plane.dtype not in _KNOWN_TO_OPENCV:
        return np.ascontiguousarray(plane)
    against = [stride < 0 for stride in plane.strides]
    stored = plane[tuple(slice(None, None, -1 if flip else 1) for flip in against)]
    row_bytes, column_bytes = stored.strides
    if plane.itemsize not in (row_bytes, column_bytes) or not (any(against) or column_bytes > row_bytes):
        return np.ascontiguousarray(plane)

    from infnet_runtime.opencv import cv2  # a scan can be read without it

    if column_bytes > row_bytes:
        stored = cv2.transpose(stored.T)
    if any(against):
        stored = cv2.flip(stored, -1 if all(against) else int(against[1]))
    return np.ascontiguousarray(stored)
