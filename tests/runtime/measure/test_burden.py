"""Counting slice by slice gives what counting all at once gives."""

import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.measure.burden import quantify
from infnet_runtime.model.false_marks import FalseMarks


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_those_of_whole_arrays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lungs = rng.integers(0, 3, (9, 20, 30)).astype(np.uint8)
    infection = (rng.random(lungs.shape) < 0.2).astype(np.uint8)
    lungs[:2] = lungs[5] = 0
    infection[3] = 0
    q = quantify(infection, lungs, 1.0)
    for burden, region in ((q.both, lungs > 0), (q.right, lungs == 1), (q.left, lungs == 2)):
        assert burden
        assert burden.lung_ml == region.sum()
        assert burden.infection_ml == (region & (infection > 0)).sum()
    assert q.slices == 9
    assert q.slices_with_lung == 6
    assert q.slices_with_infection == 8


@pytest.mark.parametrize("label", [1, 3, 5])
def test_infection_in_lungs_of_any_label_is_no_infection_outside(label: int) -> None:
    lungs = np.full((2, 10, 10), label, np.uint8)
    infection = np.zeros_like(lungs)
    infection[0] = 1
    assert "infection_outside_lungs" not in quantify(infection, lungs, 1.0, outside_voxels=2).flags
    assert "infection_outside_lungs" in quantify(infection, lungs, 1.0, outside_voxels=3).flags


def test_a_mask_on_another_grid_is_refused() -> None:
    mask = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(InputError, match=r"INF-3070.*the mask is \(2, 3, 4\), the lungs are \(2, 4, 3\)"):
        quantify(mask, mask.transpose(0, 2, 1), 1.0)


LEVEL = FalseMarks(ml=50.0, percent=2.0, scans=3)


@pytest.mark.parametrize(
    ("infected", "is_below"),
    [(0, False), (1, True), (20, True), (21, False), (500, False)],  # of 1000 voxels
)
def test_a_share_below_the_level_of_the_model_warns(infected: int, is_below: bool) -> None:
    lungs = np.ones((1, 10, 100), np.uint8)
    mask = np.zeros_like(lungs)
    mask.reshape(-1)[:infected] = 1
    for voxel_ml in (0.001, 1.0):  # the share decides, whatever the millilitres
        q = quantify(mask, lungs, voxel_ml, false_marks=LEVEL)
        assert ("below_model_level" in q.warnings) == is_below
    if is_below:
        assert "up to 2.0 % and 50 ml in 3 of them" in q.flag_texts["below_model_level"]
    assert quantify(mask, lungs, 1.0).flags == ()


def test_without_millilitres_or_lung_nothing_is_below() -> None:
    lungs = np.ones((1, 10, 100), np.uint8)
    assert "below_model_level" not in quantify(0 * lungs, 0 * lungs, 1.0, false_marks=LEVEL).flags
    assert "below_model_level" not in quantify(lungs, lungs, None, false_marks=LEVEL).flags
