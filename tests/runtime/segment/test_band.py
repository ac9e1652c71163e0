"""The volume at other thresholds follows a mask of which a part was taken out."""

import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_runtime.segment.band import Band


def band(probability: list[list[float]], gone: BoolArray, inside: BoolArray | None = None) -> list[float]:
    """Voxels at 0.3, 0.5 and 0.7 of one slice, a part of whose mask is gone."""
    given = np.array(probability, np.float32)
    lungs = np.ones(given.shape, np.bool_) if inside is None else inside
    counted = Band(1, threshold=0.5)
    counted.count([0], given[None], lungs[None])
    kept = (given >= 0.5) & lungs & ~gone
    counted.drop(0, given.astype(np.float16), lungs, kept, gone)
    return [round(ml) for ml in counted.ml(1.0).values()]


def test_what_is_left_around_a_part_goes_with_it() -> None:
    rows = [[0.4, 0.6, 0.8, 0.4, 0.1, 0.4, 0.9, 0.6, 0.4]]
    assert band(rows, np.array([[0, 1, 1] + 6 * [0]], np.bool_)) == [4, 2, 1]
    assert band(rows, np.zeros((1, 9), np.bool_)) == [8, 4, 2]


def test_what_hangs_together_with_the_rest_stays() -> None:
    rows = [[0.6, 0.6, 0.4, 0.4, 0.9, 0.4]]
    gone = np.array([[1, 1, 0, 0, 0, 0]], np.bool_)
    assert band(rows, gone) == [4, 1, 1]


def test_what_does_not_touch_the_part_and_what_is_outside_are_as_before() -> None:
    rows = [[0.6, 0.1, 0.4, 0.1, 0.4]]
    gone, inside = np.array([[1, 0, 0, 0, 0]], np.bool_), np.array([[1, 1, 1, 1, 0]], np.bool_)
    assert band(rows, gone, inside) == [1, 0, 0]


def test_rounding_to_half_precision_moves_nothing_across_the_threshold() -> None:
    just_below, just_above = 0.49999, 0.50001  # both 0.5 in float16
    rows = [[just_below, just_above, 0.0, 0.9]]
    assert band(rows, np.array([[0, 0, 0, 1]], np.bool_)) == [2, 1, 0]
