"""One lung alone in the picture: anatomy says which it is, or nobody does."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.lungs import find_lungs
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.phantom import BONE_HU, ChestPhantom
from infnet_runtime.scan.sides import EITHER

SPACING_MM = (12.0, 2.25, 2.0)
CHEST = chest_phantom((20, 144, 192), SPACING_MM)

Hu = npt.NDArray[np.int16]


def found(hu: Hu, spacing_mm: tuple[float, float, float] = SPACING_MM) -> npt.NDArray[np.uint8]:
    return find_lungs(hu, spacing_mm, Intensity.HU)


def white(side: int, hu: int = 40) -> Hu:
    """The chest with one lung as dense as muscle."""
    noise = np.random.default_rng(1).normal(0, 15, CHEST.hu.shape)
    return np.where(CHEST.lungs == side, np.rint(hu + noise), CHEST.hu).astype(np.int16)


def mirrored(hu: Hu, side: int) -> Hu:
    return hu if side == RIGHT else hu[:, :, ::-1]


def expect(labels: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8], side: int, as_label: int) -> None:
    """The lung of that side is found, whole, under that label, and nothing under another."""
    assert np.unique(labels).tolist() == [0, as_label]
    truth = lungs == side
    assert (
        2 * np.count_nonzero((labels > 0) & truth) > 0.95 * np.count_nonzero(labels > 0) + 0.95 * truth.sum()
    )


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_a_white_lung_leaves_the_other_on_its_side(side: int) -> None:
    expect(found(white(RIGHT + LEFT - side)), CHEST.lungs, side, side)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("columns", [slice(0, 92), slice(5, 96), slice(8, 105), slice(0, 88), slice(0, 110)])
def test_a_field_of_view_of_one_lung_with_its_wall(columns: slice, mirror: bool) -> None:
    """Wherever the lung lies in the picture: also where it is mostly on the other half."""
    way = slice(None, None, -1) if mirror else slice(None)
    hu, lungs = CHEST.hu[:, :, columns][:, :, way], CHEST.lungs[:, :, columns][:, :, way]
    expect(found(hu), lungs, RIGHT, LEFT if mirror else RIGHT)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_spine_says_it_where_the_wall_is_cut_off(mirror: bool) -> None:
    way = slice(None, None, -1) if mirror else slice(None)
    columns = slice(22, 108)  # from within the lung to beyond the spine
    hu, lungs = CHEST.hu[:, 34:130, columns][:, :, way], CHEST.lungs[:, 34:130, columns][:, :, way]
    expect(found(hu), lungs, RIGHT, LEFT if mirror else RIGHT)


def test_without_wall_and_spine_the_side_is_unknown() -> None:
    for side, columns in ((RIGHT, slice(13, 86)), (LEFT, slice(108, 178))):
        labels, lungs = found(CHEST.hu[:, 28:116, columns]), CHEST.lungs[:, 28:116, columns]
        assert np.unique(labels).tolist() == [0, EITHER]
        assert np.count_nonzero(labels) > 0.75 * np.count_nonzero(lungs == side)


def test_spine_and_wall_that_contradict_each_other_decide_nothing() -> None:
    hu = white(LEFT)
    spine = np.zeros(hu.shape, np.bool_)
    spine[:, 60:90, 8:18] = True  # as an arm lies beside the chest
    hu[spine & (CHEST.hu > -200)] = BONE_HU
    hu[:, 40:120, 88:108][hu[:, 40:120, 88:108] > 200] = 40
    labels = found(hu)
    assert np.unique(labels).tolist() in ([0, EITHER], [0, RIGHT])
    assert not (labels == LEFT).any()


@pytest.mark.parametrize("start", [0, 290])
def test_a_lung_far_off_the_middle_of_the_picture(start: int) -> None:
    hu, lungs = np.full((20, 144, 482), -1000, np.int16), np.zeros((20, 144, 482), np.uint8)
    hu += np.random.default_rng(2).integers(-10, 11, hu.shape).astype(np.int16)
    hu[:, :, start : start + 192] = white(LEFT)
    lungs[:, :, start : start + 192] = CHEST.lungs
    expect(found(hu), lungs, RIGHT, RIGHT)


def test_a_corner_of_the_other_lung_keeps_its_own_side() -> None:
    columns = slice(0, 124)  # a sliver of the left lung
    labels = found(CHEST.hu[:, :, columns])
    lungs = CHEST.lungs[:, :, columns]
    sliver = np.count_nonzero(lungs == LEFT) / np.count_nonzero(lungs == RIGHT)
    assert 0.005 < sliver < 0.15
    assert np.count_nonzero((labels == RIGHT) & (lungs == LEFT)) == 0
    assert np.count_nonzero((labels == LEFT) & (lungs == RIGHT)) == 0
    assert np.count_nonzero(labels == RIGHT) > 0.95 * np.count_nonzero(lungs == RIGHT)


def test_a_prone_patient_and_a_windowed_volume() -> None:
    hu = white(LEFT)
    grey = np.clip((hu.astype(np.float32) + 1150) * (255 / 1500), 0, 255).astype(np.uint8)
    expect(find_lungs(grey, SPACING_MM, Intensity.WINDOWED), CHEST.lungs, RIGHT, RIGHT)
    no_table = np.where(np.arange(144)[None, :, None] > 130, np.int16(-1000), hu)
    no_table[:, 4:9, 40:150] = 120  # the table in front
    expect(found(no_table), CHEST.lungs, RIGHT, RIGHT)


@pytest.mark.parametrize("scale", [0.3, 0.6, 1.2])
def test_in_all_sizes(scale: float) -> None:
    small: ChestPhantom = replace(CHEST, spacing_mm=tuple(mm * scale for mm in SPACING_MM))  # type: ignore[arg-type]
    expect(found(white(RIGHT), small.spacing_mm), CHEST.lungs, LEFT, LEFT)
