"""Drawn bodies: no lung in them, air inside some, every one another."""

import numpy as np

from infnet_train.data.lungs.hollow import hollow_bodies


def test_bodies_have_walls_and_no_lung() -> None:
    stack = hollow_bodies(12, seed=1)
    assert stack.kind == "empty"
    assert not stack.sides.any()
    assert (stack.hu.max(axis=(1, 2)) > 250).all()
    middle = stack.hu[:, 70:90, 70:90]
    assert (np.median(middle, axis=(1, 2)) < -500).sum() >= 3
    assert not np.array_equal(stack.hu[0], stack.hu[1])


def test_the_same_seed_draws_the_same_bodies() -> None:
    assert np.array_equal(hollow_bodies(2, seed=5).hu, hollow_bodies(2, seed=5).hu)
