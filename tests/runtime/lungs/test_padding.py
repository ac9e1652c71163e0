"""Padding with the value of tissue leaves the lungs as they are."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from builders import chest_phantom
from infnet_runtime.lungs import find_lungs
from infnet_runtime.lungs.padding import padding_values
from infnet_runtime.plausible.padding import padding
from infnet_runtime.scan.ct import CtVolume, Intensity

SPACING_MM = (12.0, 2.25, 2.0)
CHEST = chest_phantom((20, 144, 192), SPACING_MM)
# Voxels that differ from the lungs found in the same scan padded with air, as a share of them. Measured: 0
# where only values are exchanged, 0.002 after a rotation, whose blurred rim is taken away.
MOST_DIFFERENT = 0.02

Hu = npt.NDArray[np.int16]


def circle(hu: Hu) -> npt.NDArray[np.bool_]:
    """Outside of a round field of view that leaves the body whole."""
    _, rows, columns = hu.shape
    y, x = np.indices((rows, columns))
    outside = ((y - rows / 2) * 2.25) ** 2 + ((x - columns / 2) * 2.0) ** 2 > 192.0**2
    return np.broadcast_to(outside, hu.shape)


def round_field(hu: Hu, value: float) -> Hu:
    return np.where(circle(hu), np.int16(value), hu)


def rotated(hu: Hu, value: float, degrees: float = 12.0) -> Hu:
    rows, columns = hu.shape[1:]
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    turn[:, 2] += 30
    size = (columns + 60, rows + 60)
    planes = [cv2.warpAffine(plane.astype(np.float32), turn, size, borderValue=value) for plane in hu]
    return np.rint(np.stack(planes)).astype(np.int16)


def empty_slices(hu: Hu, value: float) -> Hu:
    return np.pad(hu, ((3, 2), (0, 0), (0, 0)), constant_values=value)


def border(hu: Hu, value: float) -> Hu:
    return np.pad(hu, ((0, 0), (25, 0), (10, 40)), constant_values=value)


def round_and_empty(hu: Hu, value: float) -> Hu:
    return empty_slices(round_field(hu, value), value)


SHAPES = [round_field, rotated, empty_slices, border, round_and_empty]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [0, -1, 100, -500])
def test_the_lungs_are_those_of_a_scan_padded_with_air(shape: Callable[[Hu, float], Hu], value: int) -> None:
    padded, reference = shape(CHEST.hu, value), shape(CHEST.hu, -1000)
    expected = find_lungs(reference, SPACING_MM, Intensity.HU)
    different = np.count_nonzero(find_lungs(padded, SPACING_MM, Intensity.HU) != expected)
    assert different < MOST_DIFFERENT * np.count_nonzero(expected)
    assert padding_values(padded, Intensity.HU) == (value,)


def test_two_values_of_padding() -> None:
    hu = round_field(CHEST.hu, -3024)
    hu[:, :, :96] = np.where(hu[:, :, :96] == -3024, 0, hu[:, :, :96])
    expected = find_lungs(round_field(CHEST.hu, -3024), SPACING_MM, Intensity.HU)
    assert np.array_equal(find_lungs(hu, SPACING_MM, Intensity.HU), expected)


def test_padding_in_windowed_grey() -> None:
    grey = np.clip((CHEST.hu.astype(np.float32) + 1150) * (255 / 1500), 0, 255).astype(np.uint8)
    outside = circle(CHEST.hu)
    expected = find_lungs(np.where(outside, np.uint8(0), grey), SPACING_MM, Intensity.WINDOWED)
    filled = np.where(outside, np.uint8(195), grey)
    assert np.array_equal(find_lungs(filled, SPACING_MM, Intensity.WINDOWED), expected)


@pytest.mark.parametrize("noise_hu", [0.0, 15.0])
def test_a_body_that_fills_the_picture_is_no_padding(noise_hu: float) -> None:
    quiet = chest_phantom((20, 144, 192), SPACING_MM, noise_hu=noise_hu)
    for columns in (slice(14, 178), slice(14, 86), slice(20, 130)):
        inner = quiet.hu[:, 34:110, columns]
        assert padding_values(inner, Intensity.HU) == ()
        assert find_lungs(inner, SPACING_MM, Intensity.HU).any()
    assert padding_values(quiet.hu, Intensity.HU) == ()


@pytest.mark.parametrize("value", [-1000, -1024, -2000, -3024])
def test_padding_that_is_air_or_below_is_nothing_new(value: int) -> None:
    assert padding_values(round_field(CHEST.hu, value), Intensity.HU) == ()


def test_the_reader_is_told_the_value() -> None:
    filled = round_field(CHEST.hu, -1)
    (flag,) = padding(CtVolume(filled, CHEST.affine, Intensity.HU, "scan"))
    assert (flag.name, flag.warns) == ("padding_left_out", False)
    assert "exactly -1," in flag.text
    assert padding(CtVolume(CHEST.hu, CHEST.affine, Intensity.HU, "scan")) == ()
