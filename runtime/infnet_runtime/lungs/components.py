"""Connected pieces of one slice, counted as far as somebody asks: OpenCV's statistics of all take longest."""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.opencv import cv2

Labels = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

# Up to so many labels are compared with a slice one by one; more are looked up.
_FEW = 6


def components(mask: BoolArray) -> tuple[int, Labels]:
    """Number of labels, and the label of each pixel of a slice: 0 outside, neighbours share an edge."""
    number, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    return number, np.asarray(labels, np.int32)


def areas(number: int, labels: Labels) -> Counts:
    """Pixels of each label, the outside too."""
    if number <= _FEW:
        return np.array([np.count_nonzero(labels == label) for label in range(number)], np.int64)
    return np.bincount(labels.ravel(), minlength=number)


def members(labels: AnyArray, chosen: BoolArray) -> ByteArray:
    """Where the label of a pixel is one of those chosen: 0 or 1.

    Parameters
    ----------
    labels
        Of any shape.
    chosen : (label,)
        Not 0, the outside.
    """
    picked = np.flatnonzero(chosen)
    if len(picked) > _FEW:
        return np.take(chosen.view(np.uint8), labels)
    found = np.zeros(labels.shape, np.bool_)
    for label in picked:
        found |= labels == label
    return found.view(np.uint8)


def box_of(mask: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that hold anything of a slice; empty where nothing does."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)
