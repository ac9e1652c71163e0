"""Distances between two sets of probabilities, by arithmetic."""

from dataclasses import asdict

import numpy as np
import pytest

from infnet_runtime.errors import GateError
from infnet_runtime.metrics.parity import HALF_TOLERANCE, Distances, Parity, compare, compare_classes


def test_distances_by_arithmetic() -> None:
    reference = np.zeros((1, 1, 2, 2))
    reference[0, 0] = [[0.2, 0.6], [0.9, 0.0]]
    found = reference + np.array([[0.0, -0.2], [0.0, 0.02]])
    parity = compare(found, reference, [0.5])
    assert parity.largest_distance == pytest.approx(0.2)
    assert parity.mean_distance == pytest.approx(0.055)
    assert parity.mask_disagreement == pytest.approx(0.25)
    assert parity.mask_dice == pytest.approx(2 / 3)
    assert parity.undecided == pytest.approx(0.75)
    assert parity.volume_change == pytest.approx(0.5)
    assert compare(reference * 0, reference * 0, [0.5]).mask_dice == pytest.approx(1.0)


def parity(**changed: float) -> Parity:
    """Eight slices, equal but for what is named."""
    values = {"largest_distance": 0.0, "mean_distance": 0.0, "mask_dice": 1.0, "volume_change": 0.0}
    return Parity(slices=8, undecided=0.1, mask_disagreement=0.0, **(values | changed))  # type: ignore[arg-type]


def test_small_masks_are_judged_by_pixels() -> None:
    """Five pixels a slice may differ, whatever share that is."""
    small = {"mask_dice": 0.9, "volume_change": 0.2}
    assert HALF_TOLERANCE.faults(parity(differing_pixels=40, **small)) == []
    assert HALF_TOLERANCE.faults(parity(differing_pixels=41, **small)) == [
        "masks by a Dice of 0.9000 between them (at least 0.995, or 5 pixels a slice)",
        "the infected volume by 20.00% (at most 1.0%, or 5 pixels a slice)",
    ]
    large = {"mask_dice": 0.996, "volume_change": 0.005}
    assert HALF_TOLERANCE.faults(parity(differing_pixels=4000, **large)) == []
    assert HALF_TOLERANCE.faults(parity(largest_distance=0.06)) == ["a probability by 0.06 (at most 0.05)"]


def test_the_farthest_slice_is_known() -> None:
    reference = np.full((5, 1, 4, 4), 0.2)
    found = reference.copy()
    found[3, 0, 1, 1] = 0.9
    made = compare(found, reference, [0.5])
    assert (made.farthest_slice, made.differing_pixels) == (3, 1)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(
        GateError, match=r"expected probabilities \(2, 1, 4, 4\), the exported model ret"
    ) as caught:
        compare(np.zeros((2, 4, 4)), np.zeros((2, 1, 4, 4)), [0.5])
    assert caught.value.code == 7002


def test_slices_added_in_parts_are_those_compared_at_once() -> None:
    random = np.random.default_rng(0)
    found, reference = random.random((2, 7, 1, 8, 8))
    parts = Distances([0.5])
    for part in (slice(0, 1), slice(1, 5), slice(5, 7)):
        parts.add(found[part], reference[part])
    whole = compare(found, reference, [0.5])
    assert asdict(parts.parity()) == pytest.approx(asdict(whole))
    assert parts.parity().farthest_slice == whole.farthest_slice


def of_classes(ground_glass: np.ndarray) -> np.ndarray:
    """Background 0.6 everywhere; what is left is divided between the classes."""
    background = np.full_like(ground_glass, 0.6)
    return np.stack([background, 0.4 * ground_glass, 0.4 * (1 - ground_glass)], axis=1)


def test_classes_are_compared_where_the_infection_is() -> None:
    ground_glass = np.full((1, 10, 10), 0.9)
    ground_glass[0, :, 5:] = 0.1
    infected = np.zeros((1, 10, 10), bool)
    infected[0, :, 3:7] = True  # 20 pixels of either class
    other = ground_glass.copy()
    other[0, :4, 3] = 0.2
    other[0, :, 9] = 0.9  # not infected, so it does not matter
    made = compare_classes(of_classes(other), of_classes(ground_glass), infected)
    assert made.differing_pixels == 4
    assert made.mask_dice == pytest.approx(2 * 16 / 36)
    assert made.volume_change == pytest.approx(4 / 40)
    assert made.largest_distance == pytest.approx(0.4 * 0.8)
    same = compare_classes(of_classes(ground_glass), of_classes(ground_glass), infected)
    assert (same.mask_dice, same.volume_change, same.differing_pixels) == (1.0, 0.0, 0)


def test_a_class_with_little_of_the_infection_is_judged_by_its_volume() -> None:
    ground_glass = np.full((1, 10, 10), 0.9)
    ground_glass[0, 0, :4] = 0.1
    made = compare_classes(
        of_classes(np.full((1, 10, 10), 0.9)), of_classes(ground_glass), np.ones((1, 10, 10), bool)
    )
    assert made.mask_dice == pytest.approx(2 * 96 / 196)
    assert made.volume_change == pytest.approx(0.04)
    nothing = np.zeros((1, 10, 10), bool)
    assert compare_classes(of_classes(ground_glass), of_classes(ground_glass), nothing).mask_dice == 1.0
