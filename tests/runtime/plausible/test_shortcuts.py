"""What the rules look at, against the simple way to get it."""

import numpy as np
import pytest

import simple_plausible
from infnet_runtime.plausible.coarse import coarse_chest
from infnet_runtime.plausible.grey import grey_facts
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.scan.phantom import chest_phantom


@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_coarse_chest_is_the_average_of_each_slice(kind: str, flips: tuple[int, int]) -> None:
    made = chest_phantom((9, 130, 150), (30.0, 2.5, 2.5))
    affine = made.affine.copy()
    affine[:, 1:3] *= flips
    hu = made.hu.astype(kind) * 2
    chest = coarse_chest(
        CtVolume(hu[:, :: flips[0], :: flips[1]], affine, Intensity.HU, "chest"),
        lung_mask(made.lungs[:, :: flips[0], :: flips[1]], CtVolume(hu, affine, Intensity.HU, "chest").grid),
    )
    assert chest is not None
    values = simple_plausible.coarse_values(hu, chest.lungs.shape[:0:-1])
    assert np.array_equal(chest.bone, values > 150.0)
    assert np.array_equal(chest.tissue, values > -300.0)
    assert chest.bone.any()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("low", [0, 3])
def test_repeats_count_what_is_neither_black_nor_white(order: str, low: int) -> None:
    values = np.random.default_rng(low).integers(low, low + 4, (60, 50, 8)).astype(np.uint8)
    values[:20], values[40:] = low, 255
    simple = min(simple_plausible.repeats(values), simple_plausible.repeats(values.transpose(1, 0, 2)))
    assert grey_facts(np.asarray(values, order=order))["repeats"] == simple  # type: ignore[call-overload]
    assert 0 < simple < 1
