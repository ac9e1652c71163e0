import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime.errors import InputError
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.intensity import decide_intensity

HU = chest_phantom().hu
GREY = np.clip((HU.astype(float) + 1250) / 1500 * 255, 0, 255).astype(np.uint8)


def padded(value: int) -> np.ndarray:
    voxels = HU.copy()
    voxels[:, :8, :8] = value
    return voxels


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (HU, Intensity.HU),
        (HU.astype(np.float32) + 0.5, Intensity.HU),
        (padded(-2000), Intensity.HU),
        (padded(-2048), Intensity.HU),
        (padded(-3024), Intensity.HU),
        (padded(30000), Intensity.HU),  # metal on an extended scale
        (GREY, Intensity.WINDOWED),
        (GREY.astype(np.int16), Intensity.WINDOWED),
        (GREY.astype(np.float32), Intensity.WINDOWED),
    ],
)
def test_meaning_is_found(voxels: np.ndarray, expected: Intensity) -> None:
    assert decide_intensity(voxels, source="scan.nii") is expected
    assert decide_intensity(voxels, source="scan.nii", forced=expected) is expected


@pytest.mark.parametrize(
    ("voxels", "code", "text"),
    [
        ((HU.astype(int) + 1100).clip(0, 4095), 3041, "no negative value; HU of a chest has air near -1000"),
        (HU + 1024, 3041, "but none between -1200 and -500"),
        (HU - 1024, 3042, r"0\.\d\d% of them between -200 and 300"),
        (HU - 2000, 3041, "but none between -1200 and -500"),
        (np.where(HU > -500, -600, HU), 3042, "a chest in HU has soft tissue there"),
        (HU.clip(-200, 300), 3041, "shifted, scaled or clipped"),
        (HU / 1000.0, 3041, "but none between"),
        (np.where(HU.max() == HU, 40000, HU.astype(int)), 3042, "HU stay below 32767"),
        (np.full((3, 3, 3), -1000, np.int16), 3040, "all voxels of scan.nii have the value -1000"),
        (np.zeros((3, 3, 3), np.uint8), 3040, "there is no picture in it"),
        ((HU > 0).astype(np.uint8), 3043, "2 different ones: this looks like a mask"),
        (np.where(HU > 0, 255, 0), 3043, "looks like a mask"),
        (np.where(HU > 0, np.nan, HU), 3032, "are not finite"),
        (GREY / 255.0, 3041, "no negative value"),
        (GREY + 0.5, 3041, "whole values within 0..255"),
    ],
)
def test_what_cannot_be_measured_is_refused(voxels: np.ndarray, code: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        decide_intensity(voxels, source="scan.nii")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("voxels", "forced", "text"),
    [
        (HU, Intensity.WINDOWED, "INF-3034.*windowed grey lies within 0..255; read it with intensity hu"),
        (GREY, Intensity.HU, "no negative value"),
        (np.where(HU > -500, -600, HU), Intensity.HU, "a chest in HU has soft tissue there"),
        (GREY / 255.0, Intensity.WINDOWED, "multiply the picture by 255"),
    ],
)
def test_the_users_word_must_be_possible(voxels: np.ndarray, forced: Intensity, text: str) -> None:
    with pytest.raises(InputError, match=text):
        decide_intensity(voxels, source="scan.nii", forced=forced)


def test_the_users_word_decides_where_both_are_possible() -> None:
    assert decide_intensity(GREY + 0.0, source="s", forced=Intensity.WINDOWED) is Intensity.WINDOWED
    resampled = (GREY * 0.9).astype(np.float32)
    assert decide_intensity(resampled, source="s", forced=Intensity.WINDOWED) is Intensity.WINDOWED
    lungs_only = np.full((40, 40, 40), -850, np.int16)
    lungs_only[:3, 0, 0] = 0
    with pytest.raises(InputError, match="or read it with intensity hu if they are right"):
        decide_intensity(lungs_only, source="s")
    assert decide_intensity(lungs_only, source="s", forced=Intensity.HU) is Intensity.HU
