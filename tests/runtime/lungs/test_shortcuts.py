"""Steps of the lung finder that look at less than a whole slice, against the simple version of each."""

import cv2
import numpy as np
import pytest

import simple_lungs
from infnet_runtime.arrays import ByteArray
from infnet_runtime.lungs.air import median, quantile_is_below
from infnet_runtime.lungs.closing import close_lungs, hull
from infnet_runtime.lungs.reduced import enlarge


def blobs(seed: int, shape: tuple[int, int] = (60, 80)) -> ByteArray:
    """Smooth random shapes, some at the edge."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), 6) > 0.05).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_hull_of_row_ends_is_the_hull(seed: int) -> None:
    mask = blobs(seed) > 0
    assert np.array_equal(hull(mask), simple_lungs.hull(mask))
    sparse = np.random.default_rng(seed).random(mask.shape) < 0.002 * (seed % 4)
    assert np.array_equal(hull(sparse), simple_lungs.hull(sparse))


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
    assert np.array_equal(enlarge(small, shape, step), simple_lungs.enlarge(small, shape, step))


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


@pytest.mark.parametrize("number", [1, 2, 63, 64, 1000, 1001, 40_000])
@pytest.mark.parametrize("kind", ["spread", "few", "one", "sorted"])
def test_median_near_a_sample_is_the_median(number: int, kind: str) -> None:
    values = np.random.default_rng(number).normal(size=number).astype(np.float32)
    values = {"spread": values, "few": np.rint(values), "one": values * 0, "sorted": np.sort(values)}[kind]
    assert median(values) == float(np.median(values))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_counting_tells_on_which_side_of_a_level_a_quantile_lies(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.rint(rng.normal(size=(3, 4, 5)) * (1 + seed)).astype(np.float32)
    chosen = rng.random(values.shape) < 0.6
    exact = float(np.median(values[chosen]) if share == 0.5 else np.quantile(values[chosen], share))
    for level in (exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf), exact + 1, exact - 1):
        assert quantile_is_below(values, chosen, share, level) == (exact < level)
