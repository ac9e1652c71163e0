"""Counting slice by slice gives what counting all at once gives."""

import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.measure.burden import quantify


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


def test_a_mask_on_another_grid_is_refused() -> None:
    mask = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(InputError, match=r"INF-3070.*the mask is \(2, 3, 4\), the lungs are \(2, 4, 3\)"):
        quantify(mask, mask.transpose(0, 2, 1), 1.0)
