"""Lungs of the network in the place of those that thresholds found."""

import numpy as np

from builders import LEFT, RIGHT
from infnet_runtime.lungs.both_ways import add_enclosed, take_from_network


def ring(side: int) -> np.ndarray:
    plane = np.zeros((12, 14), np.uint8)
    plane[2:9, 3:10] = side
    plane[4:7, 5:8] = 0
    return plane


def test_what_a_lung_encloses_and_thresholds_see_becomes_lung() -> None:
    for side in (RIGHT, LEFT):
        plane, seen = ring(side), ring(side) > 0
        seen[4:6, 5:8] = True
        add_enclosed(plane, seen)
        assert (plane[4:6, 5:8] == side).all()
        assert not plane[6, 5:8].any()  # dense, and not taken in


def test_what_is_open_to_the_outside_or_beside_stays_out() -> None:
    plane = ring(RIGHT)
    plane[5, 8:10] = 0  # a way out
    plane[2:9, 11] = LEFT
    before = plane.copy()
    add_enclosed(plane, np.ones(plane.shape, np.bool_))
    assert np.array_equal(plane, before)


def test_labels_become_those_of_the_network_and_the_difference_is_told() -> None:
    found, labels = np.stack([ring(RIGHT), np.zeros((12, 14), np.uint8)]), np.zeros((2, 12, 14), np.uint8)
    labels[0, 4:7, 5:8] = LEFT  # of the 40 voxels that the network finds none, of what it encloses 9
    labels[1, 0, 0] = RIGHT
    differ = take_from_network(iter(found), labels)
    assert np.count_nonzero(labels[0] == RIGHT) == 49
    assert not labels[1].any()
    assert differ is not None
    assert (differ.only_threshold, differ.only_network, differ.other_side) == (0.25, 1.0, 0.0)
    assert take_from_network(iter(found * 0), labels * 0) is None


def test_what_lies_below_a_lung_is_told() -> None:
    found = np.zeros((8, 30, 30), np.uint8)
    found[1, 4:7, 4:7] = RIGHT  # a cyst
    found[4:, 2:20, 2:12] = RIGHT
    found[:, 2:20, 16:26] = LEFT  # reaches lower
    labels = found.copy()
    labels[1, 4:7, 4:7] = 0
    differ = take_from_network(iter(found), labels)
    assert np.array_equal(labels, found)
    assert differ is not None
    assert differ.below == differ.only_network == 9 / np.count_nonzero(found)
