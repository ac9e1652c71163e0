"""What the numbers tell their reader to beware of."""

import numpy as np
import pytest

from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.flags import Flag

LUNGS = np.ones((4, 60, 60), np.uint8)
LUNGS[:, :, 30:] = 2


def dotted(pieces: int, voxels: int = 1) -> np.ndarray:
    """Pieces of so many voxels in a row, and one of a hundred."""
    mask = np.zeros_like(LUNGS)
    mask[3, :10, 50:60] = 1
    for piece in range(pieces):
        row, column = divmod(piece, 6)
        mask[0, 2 * row, 8 * column : 8 * column + voxels] = 1
    return mask


@pytest.mark.parametrize(
    ("pieces", "voxel_ml", "warns"),
    [(20, 0.09, True), (19, 0.09, False), (11, 0.001, False), (20, 0.1, False)],
)
def test_many_pieces_below_the_floor_look_like_noise(pieces: int, voxel_ml: float, warns: bool) -> None:
    assert ("many_small_pieces" in quantify(dotted(pieces), LUNGS, voxel_ml).warnings) == warns


def test_few_of_much_infection_are_no_noise() -> None:
    mask = dotted(25)
    mask[2:] = LUNGS[2:] > 0
    assert "many_small_pieces" not in quantify(mask, LUNGS, 0.09).flags


@pytest.mark.parametrize(("lung_ml", "said"), [(1999.0, True), (2000.0, False)])
def test_small_lungs_are_said_where_they_are_whole(lung_ml: float, said: bool) -> None:
    voxel_ml = lung_ml / LUNGS.size
    q = quantify(0 * LUNGS, LUNGS, voxel_ml * (1 + 1e-12))
    assert ("lungs_small" in q.flags) == said
    assert "lungs_small" not in q.warnings
    cut = Flag("lungs_cut", "a part")
    assert "lungs_small" not in quantify(0 * LUNGS, LUNGS, voxel_ml, flags=(cut,)).flags
    assert "lungs_small" not in quantify(0 * LUNGS, np.where(LUNGS == 1, LUNGS, 0), voxel_ml).flags
    assert "lungs_small" not in quantify(0 * LUNGS, LUNGS, None).flags


@pytest.mark.parametrize(("outside", "warns"), [(360, False), (361, True)])
def test_lobes_that_leave_out_lung_are_said(outside: int, warns: bool) -> None:
    lobes = np.full(LUNGS.shape, 3, np.uint8)
    lobes.reshape(-1)[: outside * 2] = 0  # of 14400 voxels, 5 % are 720
    assert ("lobes_incomplete" in quantify(0 * LUNGS, LUNGS, 0.01, lobes=lobes).warnings) == warns


@pytest.mark.parametrize(("hu", "warns"), [(-850, True), (-800, True), (-799, False), (-450, False)])
def test_what_is_as_light_as_lung_may_be_no_infection(hu: int, warns: bool) -> None:
    values = np.full(LUNGS.shape, hu, np.int16)
    assert ("infection_aerated" in quantify(LUNGS, LUNGS, 0.01, hu=values).warnings) == warns
    assert "infection_aerated" not in quantify(0 * LUNGS, LUNGS, 0.01, hu=values).flags
    assert "infection_aerated" not in quantify(LUNGS, LUNGS, 0.01).flags
