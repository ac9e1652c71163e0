"""One plane of a volume in one piece of memory, which OpenCV asks for, and quick work needs."""

import numpy as np

from infnet_runtime.arrays import AnyArray

_FLIPPED_BY_OPENCV = frozenset(np.dtype(kind) for kind in ("u1", "u2", "i2", "i4", "f4"))


def contiguous(plane: AnyArray) -> AnyArray:
    """A plane with its columns side by side in memory; a copy only where they are not.

    The planes of most files run against LPS. OpenCV turns one in a fifth of the time NumPy takes to copy it.

    Parameters
    ----------
    plane : (row, column)
        Of any type and strides; it is not changed.
    """
    against = [stride < 0 for stride in plane.strides]
    if any(against) and plane.dtype in _FLIPPED_BY_OPENCV:
        stored = plane[tuple(slice(None, None, -1 if flip else 1) for flip in against)]
        if stored.flags.c_contiguous:
            import cv2  # a scan can be read without it

            return np.asarray(cv2.flip(stored, -1 if all(against) else int(against[1])))
    return np.ascontiguousarray(plane)
