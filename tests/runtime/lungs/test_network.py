"""The way from a scan to the lung network and back, with a stand-in that takes dark for lung."""

import numpy as np
import numpy.typing as npt
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.errors import InputError
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.lungs.network import Letterbox, find_lungs_by_network, letterbox, lung_planes
from infnet_runtime.scan.ct import Intensity

SPEC = LungSpec()
# The stand-in loses the lesion and adds the blurred rim of the body. Measured: 0.94.
PHANTOM_DICE = 0.92
FloatArray = npt.NDArray[np.float32]


def dark_is_lung(batch: FloatArray) -> FloatArray:
    """What is dark inside the bright body, split in the middle of the square."""
    grey = batch[:, 1]
    lung = (grey > 0.06) & (grey < 0.4)
    half = grey.shape[2] // 2
    found = np.zeros((len(batch), 2, *grey.shape[1:]), np.float32)
    found[:, 0, :, :half] = lung[:, :, :half]
    found[:, 1, :, half:] = lung[:, :, half:]
    return found


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return 2 * int(np.count_nonzero(a & b)) / max(1, int(a.sum()) + int(b.sum()))


@pytest.mark.parametrize("intensity", list(Intensity))
def test_right_and_left_come_back_where_they_are(intensity: Intensity) -> None:
    chest = chest_phantom()
    voxels: npt.NDArray[np.generic] = chest.hu
    if intensity is Intensity.WINDOWED:
        voxels = np.clip((chest.hu + 1050.0) * (255 / 1300), 0, 255).astype(np.uint8)
    labels = find_lungs_by_network(voxels, chest.spacing_mm, intensity, dark_is_lung)
    assert labels.dtype == np.uint8
    assert dice(labels == RIGHT, chest.lungs == RIGHT) > PHANTOM_DICE
    assert dice(labels == LEFT, chest.lungs == LEFT) > PHANTOM_DICE
    assert not np.any((labels == RIGHT) & (chest.lungs == LEFT))


@pytest.mark.parametrize("step_mm", [0.6, 1.0, 2.9])
def test_thin_slices_are_interpolated_between_those_that_are_run(step_mm: float) -> None:
    coarse = chest_phantom()
    times = round(coarse.spacing_mm[0] / step_mm)
    voxels = np.repeat(coarse.hu, times, axis=0)
    spacing_mm = (coarse.spacing_mm[0] / times, *coarse.spacing_mm[1:])
    run = 0

    def count(batch: FloatArray) -> FloatArray:
        nonlocal run
        run += len(batch)
        return dark_is_lung(batch)

    labels = find_lungs_by_network(voxels, spacing_mm, Intensity.HU, count)
    assert run <= len(voxels) * spacing_mm[0] / 1.5 + 1
    assert dice(labels > 0, np.repeat(coarse.lungs, times, axis=0) > 0) > PHANTOM_DICE


def test_the_batch_size_changes_nothing() -> None:
    chest = chest_phantom()
    one, many = (
        find_lungs_by_network(chest.hu, chest.spacing_mm, Intensity.HU, dark_is_lung, batch_size=n)
        for n in (1, 64)
    )
    assert np.array_equal(one, many)


def test_planes_lie_at_the_distance_of_the_contract_and_repeat_at_the_ends() -> None:
    voxels = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 40, 40), np.uint8)
    planes = list(lung_planes(voxels, (5.0, 1.0, 1.0), Intensity.WINDOWED, SPEC, np.arange(10)))
    shown = np.rint([plane[:, 80, 80] * 255 for plane in planes]).astype(int)
    assert shown.tolist() == [[max(0, k - 2), k, min(9, k + 2)] for k in range(10)]


def test_hu_are_windowed_and_padding_is_black() -> None:
    voxels = np.full((1, 8, 8), -2000, np.int16)
    voxels[0, 4:] = 3000
    (planes,) = lung_planes(voxels, (1.0, 1.0, 1.0), Intensity.HU, SPEC, np.arange(1))
    assert planes.min() == 0.0
    assert planes.max() == 1.0
    assert voxels[0, 0, 0] == -2000  # not changed in place


def test_a_slice_keeps_its_proportions_in_mm() -> None:
    assert letterbox(100, 50, 1.0, 2.0, 160) == Letterbox(slice(0, 160), slice(0, 160))
    tall = letterbox(200, 50, 1.0, 1.0, 160)
    assert tall == Letterbox(slice(0, 160), slice(60, 100))


def test_small_pieces_are_no_lung() -> None:
    def specks(batch: FloatArray) -> FloatArray:
        found = np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)
        found[:, 0, 40:42, 40:42] = 1
        return found

    voxels = np.zeros((3, 160, 160), np.int16)
    assert not find_lungs_by_network(voxels, (5.0, 2.0, 2.0), Intensity.HU, specks).any()


def test_nothing_found_gives_nothing() -> None:
    voxels = np.full((2, 64, 64), 40, np.int16)
    assert not find_lungs_by_network(voxels, (5.0, 2.0, 2.0), Intensity.HU, dark_is_lung).any()
    assert find_lungs_by_network(voxels[:0], (5.0, 2.0, 2.0), Intensity.HU, dark_is_lung).shape == (0, 64, 64)


def test_one_picture_works_alone() -> None:
    chest = chest_phantom()
    k = len(chest.hu) // 2
    labels = find_lungs_by_network(chest.hu[k : k + 1], chest.spacing_mm, Intensity.HU, dark_is_lung)
    assert dice(labels[0] > 0, chest.lungs[k] > 0) > PHANTOM_DICE


def test_another_number_of_axes_is_refused() -> None:
    with pytest.raises(InputError, match="expected voxels with 3 axes"):
        find_lungs_by_network(np.zeros((8, 8), np.int16), (1.0, 1.0, 1.0), Intensity.HU, dark_is_lung)
