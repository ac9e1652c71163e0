"""The mask of a scan against that of its mirror image."""

import numpy as np
import pytest

from infnet_runtime.measure.flip import MOST_DISAGREEMENT, Flip, compared


def test_disagreement_is_one_less_dice() -> None:
    mask, other = np.zeros((2, 3, 4, 5), np.uint8)
    mask[1], other[1:] = 1, 1
    flip = compared(mask, other)
    assert flip == Flip(pytest.approx(1 - 2 * 20 / (20 + 40)), 40, 20)
    assert compared(other, mask).disagreement == flip.disagreement
    assert compared(mask, mask) == Flip(0.0, 20, 0)
    assert compared(mask, np.zeros_like(mask)).disagreement == 1
    assert compared(np.zeros_like(mask), np.zeros_like(mask)) == Flip(0.0, 0, 0)


@pytest.mark.parametrize(
    ("disagreement", "voxels", "voxel_ml", "is_flagged"),
    [
        (MOST_DISAGREEMENT, 1000, 0.01, False),
        (MOST_DISAGREEMENT + 1e-9, 1000, 0.01, True),
        (1.0, 9, 0.01, False),  # less than a piece that counts
        (1.0, 10, 0.01, True),
        (1.0, 1, None, True),  # nobody knows how much it is
    ],
)
def test_the_flag(disagreement: float, voxels: int, voxel_ml: float | None, is_flagged: bool) -> None:
    flags = Flip(disagreement, 0, voxels).flags(voxel_ml)
    assert [flag.name for flag in flags] == ["check_this_scan"] * is_flagged
    assert all(flag.warns and f"{100 * disagreement:.0f} %" in flag.text for flag in flags)
