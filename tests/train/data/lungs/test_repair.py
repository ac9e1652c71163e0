"""Infection that a lung mask lost comes back to the lung it touches."""

import numpy as np

from infnet_train.data.lungs.repair import with_infection


def test_infection_at_the_rim_is_joined_across_a_narrow_cleft() -> None:
    sides = np.zeros((1, 60, 60), np.uint8)
    sides[0, 10:50, 5:25] = 1
    sides[0, 10:50, 40:55] = 2
    infection = np.zeros(sides.shape, bool)
    infection[0, 20:40, 26:30] = True  # one pixel apart from the right lung
    repaired = with_infection(sides, infection)
    assert (repaired[0, 20:40, 25:30] == 1).all()
    assert np.array_equal(repaired == 2, sides == 2)
    assert np.array_equal(repaired[sides > 0], sides[sides > 0])


def test_infection_far_from_any_lung_stays_out() -> None:
    sides = np.zeros((1, 60, 60), np.uint8)
    sides[0, 10:50, 5:25] = 1
    infection = np.zeros(sides.shape, bool)
    infection[0, 20:30, 35:40] = True
    assert np.array_equal(with_infection(sides, infection), sides)


def test_the_mask_given_is_not_changed() -> None:
    sides = np.ones((1, 10, 10), np.uint8)
    sides[0, :, 5:] = 0
    before = sides.copy()
    with_infection(sides, np.ones(sides.shape, bool))
    assert np.array_equal(sides, before)
