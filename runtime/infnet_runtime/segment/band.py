"""The volume at several thresholds of the probability, counted slice by slice as they are marked."""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray
from infnet_runtime.opencv import cv2

BAND = (0.3, 0.5, 0.7)
"""Thresholds at which the volume is given."""


class Band:
    """Voxels that count at each threshold.

    Parameters
    ----------
    slices
        How many the scan has.
    threshold
        That of the mask.
    """

    def __init__(self, slices: int, threshold: float) -> None:
        self._voxels: npt.NDArray[np.int64] = np.zeros((slices, len(BAND)), np.int64)
        self._threshold = threshold

    def count(self, picked: slice | list[int], probability: AnyArray, inside: BoolArray) -> None:
        """Count slices.

        Parameters
        ----------
        probability, inside : (n, rows, columns)
            Where voxels count.
        """
        for column, threshold in enumerate(BAND):
            self._voxels[picked, column] = ((probability >= threshold) & inside).sum(axis=(1, 2))

    def silence(self, number: int) -> None:
        """Nothing counts in a slice."""
        self._voxels[number] = 0

    def drop(
        self, number: int, probability: AnyArray, inside: BoolArray, kept: BoolArray, gone: BoolArray
    ) -> None:
        """Count a slice again of which a part no longer counts.

        At a threshold below that of the mask, what is left around such a part goes with it.

        Parameters
        ----------
        probability : (rows, columns), float16
            As it is kept.
        kept, gone : (rows, columns)
            What of the mask is left, and what is not.
        """
        for column, threshold in enumerate(BAND):
            counts = (probability >= np.float16(threshold)) & inside  # rounding keeps the order
            if threshold >= self._threshold:
                counts &= kept
            else:
                counts = _without_rims(counts | kept | gone, kept, gone)
            self._voxels[number, column] = np.count_nonzero(counts)

    def ml(self, voxel_ml: float) -> dict[str, float]:
        """Threshold to volume."""
        voxels = self._voxels.sum(axis=0).tolist()
        return {f"{threshold:g}": n * voxel_ml for threshold, n in zip(BAND, voxels, strict=True)}


def _without_rims(counts: BoolArray, kept: BoolArray, gone: BoolArray) -> BoolArray:
    """What is neither gone nor hangs together with what is, and with nothing that is kept."""
    number, labels = cv2.connectedComponents(counts.astype(np.uint8), connectivity=8)
    is_rim = np.zeros(number, np.bool_)
    is_rim[labels[gone]] = True
    is_rim[labels[kept]] = False
    left: BoolArray = counts & ~gone & ~is_rim[labels]
    return left
