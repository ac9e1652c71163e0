"""Steps of the lung finder that look at less than a whole slice, against the simple version of each."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from infnet_runtime.arrays import ByteArray
from infnet_runtime.lungs.closing import close_lungs, hull
from infnet_runtime.lungs.reduced import enlarge


def blobs(seed: int, shape: tuple[int, int] = (60, 80)) -> ByteArray:
    """Smooth random shapes, some at the edge."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), 6) > 0.05).astype(np.uint8)


def simple_hull(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    points, shape = cv2.findNonZero(mask.astype(np.uint8)), np.zeros(mask.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(shape, cv2.convexHull(points), 1)
    return shape > 0


@pytest.mark.parametrize("seed", range(12))
def test_hull_of_row_ends_is_the_hull(seed: int) -> None:
    mask = blobs(seed) > 0
    assert np.array_equal(hull(mask), simple_hull(mask))
    sparse = np.random.default_rng(seed).random(mask.shape) < 0.002 * (seed % 4)
    assert np.array_equal(hull(sparse), simple_hull(sparse))


def simple_enlarge(small: ByteArray, shape: tuple[int, int, int], step: int) -> ByteArray:
    labels = np.zeros(shape, np.uint8)
    first = min(step // 2, shape[0] - 1)
    for k in range(shape[0]):
        place = min(max((k - first) / step, 0.0), len(small) - 1.0)
        low = int(place)
        high, weight = min(low + 1, len(small) - 1), place - low
        for side in (1, 2):
            plane = (1.0 - weight) * (small[low] == side) + weight * (small[high] == side)
            large = cv2.resize(plane.astype(np.float32), shape[:0:-1], interpolation=cv2.INTER_LINEAR)
            labels[k, large > 0.5] = side
    return labels


@pytest.mark.parametrize(
    ("size", "step"), [((60, 80), 1), ((150, 200), 1), ((97, 333), 3), ((512, 512), 2), ((61, 81), 5)]
)
def test_enlarge_equals_the_simple_version(size: tuple[int, int], step: int) -> None:
    small = np.zeros((6, 60, 80), np.uint8)
    for k in range(1, 5):
        small[k] = blobs(k)
        small[k][:, 40:] *= 2
    small[3, :, 40:] = 0
    shape = (5 * step + 1, *size)
    assert np.array_equal(enlarge(small, shape, step), simple_enlarge(small, shape, step))


@pytest.mark.parametrize("seed", range(6))
def test_closing_does_not_depend_on_what_lies_around(seed: int) -> None:
    sides = np.stack([blobs(seed + k) for k in range(3)])
    sides[:, :, 40:] *= 2
    bone = np.random.default_rng(seed).random(sides.shape) < 0.02
    around = ((0, 0), (13, 5), (7, 21))

    def pixels(mm: float) -> int:
        return max(1, round(mm / 2))

    small = close_lungs(sides, bone, 0.04, pixels)
    large = close_lungs(np.pad(sides, around), np.pad(bone, around), 0.04, pixels)
    assert (small != sides).any()
    assert np.array_equal(large[:, 13:-5, 7:-21], small)
