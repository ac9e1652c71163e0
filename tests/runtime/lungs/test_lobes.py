"""Lobe masks: numberings that are known and lie where they say are taken, everything else is refused."""

import numpy as np
import pytest

from builders import LEFT, ORIENTATIONS, RIGHT, chest_phantom, reorient
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.lungs.lobes import given_lobes, sides_of_lobes
from infnet_runtime.scan.grid import Grid

CHEST = chest_phantom()
GRID = Grid(CHEST.lungs.shape, CHEST.affine)


def lobes(
    left_upper: int, left_lower: int, right_upper: int, right_middle: int, right_lower: int
) -> np.ndarray:
    """Lungs of the phantom, cut by height; slices run from the feet."""
    labels = np.zeros(CHEST.lungs.shape, np.int32)
    left, right = CHEST.lungs == LEFT, CHEST.lungs == RIGHT
    labels[left], labels[right] = left_upper, right_upper
    labels[:9][left[:9]] = left_lower
    labels[:11][right[:11]] = right_middle
    labels[:8][right[:8]] = right_lower
    return labels


TRUTH = lobes(1, 2, 3, 4, 5)
TOTAL_2, TOTAL_1 = lobes(10, 11, 12, 13, 14), lobes(13, 14, 15, 16, 17)


def with_organs(labels: np.ndarray) -> np.ndarray:
    """A map of all classes: spleen 1, liver 5, vertebrae and ribs."""
    labels = labels.copy()
    body = labels == 0
    for number, place in enumerate((1, 2, 3, 5, 25, 26, 92, 117)):
        labels[number : number + 2][body[number : number + 2]] = place
    return labels


@pytest.mark.parametrize("labels", [TRUTH, TOTAL_2, TOTAL_1, with_organs(TOTAL_2), with_organs(TOTAL_1)])
def test_known_numberings_are_one(labels: np.ndarray) -> None:
    assert np.array_equal(given_lobes(labels, GRID), TRUTH)
    assert np.array_equal(given_lobes(labels.astype(np.float32), GRID), TRUTH)


@pytest.mark.parametrize("code", ORIENTATIONS[::7])
def test_any_orientation_is_taken(code: str) -> None:
    stored, affine = reorient(TRUTH, CHEST.spacing_mm, code)
    assert np.array_equal(given_lobes(stored, Grid(stored.shape, affine)), stored)


def test_a_lobe_may_have_been_removed() -> None:
    labels = np.where(TRUTH == 4, 5, TRUTH)
    assert np.array_equal(given_lobes(labels, GRID), labels)


def test_their_sides_are_those_of_the_lungs() -> None:
    assert np.array_equal(sides_of_lobes(TRUTH.astype(np.uint8)), CHEST.lungs)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (CHEST.lungs, "1 (10672 voxels, 66 %), 2 (5511 voxels, 34 %); expected lobes: 1 left upper"),
        ((CHEST.lungs > 0).astype(np.uint8), "expected lobes"),
        (np.zeros_like(CHEST.lungs), "no label; expected lobes"),
        (lobes(1, 1, 3, 3, 3), "expected lobes"),
        (lobes(1, 2, 3, 4, 6), ", 6 ("),
        (lobes(21, 22, 23, 24, 25), "expected lobes"),
    ],
)
def test_other_labels_are_refused(labels: np.ndarray, said: str) -> None:
    with pytest.raises(InputError) as caught:
        given_lobes(labels, GRID, name="lobes.nii.gz")
    assert caught.value.code == 3332
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (lobes(3, 5, 1, 4, 2), "a left lobe lies on the right, or a right one on the left"),
        (lobes(2, 1, 3, 4, 5), "the lower lobe 2 lies above the upper lobe 1"),
        (lobes(10, 11, 14, 13, 12), "as TotalSegmentator 2 numbers them, the lower lobe 14 lies above"),
        (TRUTH[::-1], "lies above the upper lobe"),
        (TRUTH[:, :, ::-1], "a left lobe lies on the right"),
    ],
)
def test_lobes_in_other_places_are_refused(labels: np.ndarray, said: str) -> None:
    with pytest.raises(InputError) as caught:
        given_lobes(labels, GRID)
    assert caught.value.code == 3333
    assert said in str(caught.value)


def test_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match="INF-3033"):
        given_lobes(TRUTH[1:], GRID)
