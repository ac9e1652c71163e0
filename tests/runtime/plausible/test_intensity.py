from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom, write_nifti
from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan
from infnet_runtime.plausible.intensity import decide_intensity, doubtful_values
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import ChestPhantom, textured

CHEST = chest_phantom()
HU = CHEST.hu
DRAWN = chest_phantom(noise_hu=0).hu
TEXTURED = textured(chest_phantom((24, 160, 200), (10.0, 2.0, 1.9)))


def windowed(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((hu - float(low)) / (high - low), 0, 1) * 255).astype(np.uint8)


GREY = windowed(HU, -1250, 250)
LUNG = windowed(TEXTURED.hu, -1050, 250)


def padded(value: int, hu: np.ndarray = HU) -> np.ndarray:
    voxels = hu.astype(np.int32)
    voxels[:, :8, :8] = value
    return voxels


def in_circle(hu: np.ndarray, padding: float) -> np.ndarray:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape[1:]), indexing="ij")
    return np.where(x**2 + y**2 <= 0.93**2, hu, padding).astype(np.int32)


def in_large_field(chest: ChestPhantom, margin: int) -> np.ndarray:
    """The chest of a small child in the field of view of an adult."""
    rng = np.random.default_rng(1)
    size = np.add(chest.hu.shape, (0, 2 * margin, 2 * margin))
    large = rng.normal(-1000, 15, size).round().astype(np.int16)
    large[:, margin:-margin, margin:-margin] = chest.hu
    return large


def lungs_alone(chest: ChestPhantom) -> np.ndarray:
    """Lungs cut out with their vessels and closely, everything else as padding."""
    around = np.stack([cv2.dilate(plane, np.ones((2, 2), np.uint8)) for plane in chest.lungs])
    return np.where(around > 0, chest.hu, -2048)[:, 30:-30, 20:-20]


def both_white(chest: ChestPhantom) -> np.ndarray:
    """Lungs that are consolidated but for their upper fifth."""
    hu = chest.hu.copy()
    below = slice(0, 4 * len(hu) // 5)
    hu[below][chest.lungs[below] > 0] = 20
    return hu


def labels(levels: int) -> np.ndarray:
    """A label map in blocks, as large as the chest."""
    z, y, x = (np.arange(n) * 6 // n for n in HU.shape)
    blocks = z[:, None, None] * 36 + y[:, None] * 6 + x
    return np.where(HU > -300, 1 + blocks % levels, 0)


def probability() -> np.ndarray:
    """A soft map 0..255 of what a network found."""
    sharp = TEXTURED.infection.astype(np.uint8) * 255
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in sharp])


def equalised(grey: np.ndarray) -> np.ndarray:
    return np.stack([cv2.equalizeHist(plane) for plane in grey])


def flags(voxels: np.ndarray, intensity: Intensity) -> set[str]:
    return {f.name for f in doubtful_values(CtVolume(voxels, np.eye(4), intensity, "s"))}


LUNGS_ALONE = lungs_alone(TEXTURED)


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (HU, Intensity.HU),
        (HU.astype(np.float32) + 0.5, Intensity.HU),
        (DRAWN, Intensity.HU),
        (TEXTURED.hu, Intensity.HU),
        (padded(-2000), Intensity.HU),
        (padded(-2048), Intensity.HU),
        (in_circle(HU, -3024), Intensity.HU),
        (in_circle(HU, -32768), Intensity.HU),
        (padded(-1024, in_circle(HU, -2000)), Intensity.HU),
        (padded(30000), Intensity.HU),  # metal on an extended scale
        (HU.clip(-1000, 400), Intensity.HU),
        (HU[9:10], Intensity.HU),
        (both_white(CHEST), Intensity.HU),
        (in_large_field(CHEST, 130), Intensity.HU),
        (HU + 40, Intensity.HU),
        (GREY, Intensity.WINDOWED),
        (GREY.astype(np.int16), Intensity.WINDOWED),
        (GREY.astype(np.float32), Intensity.WINDOWED),
        (GREY[9:10], Intensity.WINDOWED),
        (windowed(HU, -1000, 400), Intensity.WINDOWED),
        (windowed(HU, -1350, 150), Intensity.WINDOWED),
        (windowed(in_large_field(CHEST, 130), -1150, 350), Intensity.WINDOWED),
        (windowed(both_white(CHEST), -1050, 250), Intensity.WINDOWED),
        (LUNG, Intensity.WINDOWED),
    ],
)
def test_meaning_is_found_and_nothing_is_doubted(voxels: np.ndarray, expected: Intensity) -> None:
    assert decide_intensity(voxels, source="scan.nii") is expected
    assert decide_intensity(voxels, source="scan.nii", forced=expected) is expected
    assert flags(voxels, expected) == set()


CLIPPED = r"nothing scanned is below -(9|6|5)\d\d; air in and around a chest is -1000 HU"
NO_AIR = "but none between -1200 and -500 apart from padding"
DENSE = "of all that is denser than lung is above 400"


@pytest.mark.parametrize(
    ("voxels", "code", "text"),
    [
        # stored values, with and without padding below zero; one padded voxel; shifted otherwise
        ((HU.astype(int) + 1100).clip(0, 4095), 3041, "no negative value; HU of a chest has air near -1000"),
        (HU + 1024, 3041, NO_AIR),
        (in_circle(HU + 1024, -1024), 3041, r"rescale intercept of -1024 was left out\?"),
        (in_circle(HU + 1024, -2000), 3041, NO_AIR),
        (in_circle(DRAWN + 1024, -1024), 3041, NO_AIR),
        (in_circle(HU + 1000, -1000), 3041, NO_AIR),
        (np.where(HU.max() == HU, -1000, HU + 1024), 3041, NO_AIR),
        (HU - 1024, 3045, "58% of what is no padding below -1200; nothing is thinner than air"),
        (HU - 1000, 3045, "an intercept was subtracted twice"),
        (HU - 3024, 3045, "100% of what is no padding below -1200"),
        # clipped from below, with padding, and from above
        (HU.clip(-900, 400), 3044, CLIPPED),
        (HU.clip(-600, 400), 3041, NO_AIR),
        (TEXTURED.hu.clip(-600, 400), 3044, CLIPPED),
        (in_circle(TEXTURED.hu.clip(-600, 400), -1024), 3044, CLIPPED),
        (in_circle(HU.clip(-900, 400), -2000), 3044, CLIPPED),
        (HU.clip(-500, None), 3041, "clipped, or no lung is in the scan"),
        (HU.clip(-200, 300), 3041, NO_AIR),
        (HU.clip(None, -100), 3044, "nothing above -100; muscle is near 50 HU"),
        # scaled and turned round
        (HU * 0.5, 3044, CLIPPED),
        (HU * 0.9, 3044, CLIPPED),
        (HU * 2, 3045, "nothing is thinner than air"),
        (HU / 10.0, 3041, NO_AIR),
        (HU / 1000.0, 3041, NO_AIR),
        ((HU - HU.mean()) / HU.std(), 3041, "scaled, normalised or clipped"),
        (-HU, 3045, DENSE),
        (-TEXTURED.hu, 3041, NO_AIR),
        (in_circle(HU + 1024, -1024) + np.random.default_rng(0).integers(0, 200, HU.shape), 3045, DENSE),
        # no body
        (np.where(HU > -500, -600, HU), 3042, "a chest in HU has soft tissue there"),
        (np.where(TEXTURED.lungs > 0, TEXTURED.hu, -2000), 3042, "the body around the lungs was blanked out"),
        (np.where(TEXTURED.lungs > 0, TEXTURED.hu, -1000), 3042, "the body around the lungs was blanked out"),
        (LUNGS_ALONE, 3048, "The body around the lungs was blanked out"),
        # nothing of a CT
        (np.where(HU.max() == HU, 40000, HU.astype(int)), 3042, "HU stay below 32767"),
        (np.full((3, 3, 3), -1000, np.int16), 3040, "all voxels of scan.nii have the value -1000"),
        (np.zeros((3, 3, 3), np.uint8), 3040, "there is no picture in it"),
        (np.where(HU > 0, np.nan, HU), 3032, "are not finite"),
        (GREY / 255.0, 3041, "a picture stretched to 0..1"),
        (GREY.astype(np.int32) * 257, 3041, "or to 16 bits"),
        (GREY + 0.5, 3041, "whole values within 0..255"),
        (labels(117) * 3, 3041, "a label map"),
        # labels and maps
        ((HU > 0).astype(np.uint8), 3043, "2 different ones: this looks like a mask"),
        (np.where(HU > 0, 255, 0), 3043, "looks like a mask"),
        (labels(117), 3043, "of the neighbours that are neither black nor white are equal"),
        (labels(24).astype(np.float32), 3043, "This looks like a label map"),
        (labels(117)[9:10], 3043, "This looks like a label map"),
        # other windows
        (windowed(HU, -1024, 3071), 3046, "soft tissue is near 66, in the lung window near 214"),
        (windowed(HU, -1024, 1500), 3046, "soft tissue is near 108"),
        (windowed(HU, -1024, 1000), 3046, "another window, such as the whole range of HU"),
        (windowed(HU, -2048, 3071), 3046, "export it again in a lung window"),
        (windowed(HU, -160, 240), 3046, "soft tissue is near 128"),
        (windowed(TEXTURED.hu, -125, 225), 3046, "one for soft tissue"),
        (windowed(TEXTURED.hu, -500, 1500), 3046, "in the lung window near 214"),
        (windowed(in_circle(TEXTURED.hu, -3024), -3024, 1378), 3046, "dark and bright are"),
        (np.where(TEXTURED.lungs > 0, LUNG, 0), 3046, "the body around the lungs was blanked out"),
        (windowed(HU, -1024, 3071)[9:10], 3046, "soft tissue is near 66"),
        (
            windowed(TEXTURED.hu, -160, 240)[12:13],
            3046,
            "of all that is dark is black, so lungs cannot be told",
        ),
        # turned round
        (255 - LUNG, 3047, r"The picture looks inverted \(MONOCHROME1\)"),
        (255 - GREY, 3047, "looks inverted"),
        (255 - windowed(TEXTURED.hu, -1000, 400)[12:13], 3047, "looks inverted"),
    ],
)
def test_what_cannot_be_measured_is_refused(voxels: np.ndarray, code: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        decide_intensity(voxels, source="scan.nii")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("voxels", "intensity", "flag", "text"),
    [
        (
            HU.clip(None, 100),
            Intensity.HU,
            "hu_clipped_above",
            "nothing above 100, but bone reaches beyond 250",
        ),
        (HU.clip(None, 200), Intensity.HU, "hu_clipped_above", "the values were clipped"),
        (TEXTURED.hu.clip(-1024, 60), Intensity.HU, "hu_clipped_above", "convert the scan again"),
        (np.where(HU > -300, HU + 130, HU), Intensity.HU, "hu_shifted", "soft tissue is most often 1"),
        (np.where(HU > -300, HU - 250, HU), Intensity.HU, "hu_shifted", "soft tissue is most often -2"),
        (windowed(HU, -1024, 750), Intensity.WINDOWED, "window_wide", "soft tissue is near 153"),
        (windowed(HU, -1100, 800), Intensity.WINDOWED, "window_wide", "infection is underestimated"),
        (equalised(LUNG), Intensity.WINDOWED, "grey_equalised", "the histogram was equalised"),
        (equalised(LUNG)[12:13], Intensity.WINDOWED, "grey_equalised", "all equally frequent"),
        (probability(), Intensity.WINDOWED, "lungs_black", "no CT but a mask or a probability map"),
        (probability()[8:9], Intensity.WINDOWED, "lungs_black", "Unless the chest is small in the image"),
    ],
)
def test_what_is_doubtful_is_said(voxels: np.ndarray, intensity: Intensity, flag: str, text: str) -> None:
    assert decide_intensity(voxels, source="s") is intensity
    found = {f.name: f for f in doubtful_values(CtVolume(voxels, np.eye(4), intensity, "s"))}
    assert text in found[flag].text
    assert found[flag].warns


@pytest.mark.parametrize(
    ("voxels", "forced", "code", "text"),
    [
        (HU, Intensity.WINDOWED, 3034, "windowed grey lies within 0..255; read it with intensity hu"),
        (GREY, Intensity.HU, 3041, "no negative value"),
        (HU.clip(-900, 400), Intensity.HU, 3044, "nothing scanned is below -900"),
        (in_circle(HU + 1024, -1024), Intensity.HU, 3041, "apart from padding"),
        (-HU, Intensity.HU, 3045, "denser than lung"),
        (GREY / 255.0, Intensity.WINDOWED, 3043, "multiply the picture by 255"),
        (windowed(HU, -1024, 3071), Intensity.WINDOWED, 3046, "soft tissue is near 66"),
        (windowed(HU, -160, 240), Intensity.WINDOWED, 3046, "soft tissue is near 128"),
        (labels(117), Intensity.WINDOWED, 3043, "This looks like a label map"),
        (255 - GREY, Intensity.WINDOWED, 3047, "looks inverted"),
    ],
)
def test_the_users_word_must_be_possible(voxels: np.ndarray, forced: Intensity, code: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        decide_intensity(voxels, source="scan.nii", forced=forced)
    assert caught.value.code == code


def test_the_users_word_decides_where_both_are_possible() -> None:
    assert decide_intensity(GREY + 0.0, source="s", forced=Intensity.WINDOWED) is Intensity.WINDOWED
    resampled = (GREY * 0.9).astype(np.float32)
    assert decide_intensity(resampled, source="s", forced=Intensity.WINDOWED) is Intensity.WINDOWED


@pytest.mark.parametrize(
    "lungs_only",
    [LUNGS_ALONE, *(np.where(TEXTURED.lungs > 0, TEXTURED.hu, outside) for outside in (-1000, -2000))],
)
def test_lungs_without_a_body_are_taken_on_the_users_word_and_flagged(lungs_only: np.ndarray) -> None:
    with pytest.raises(InputError, match="read it with intensity hu if it is right"):
        decide_intensity(lungs_only, source="s")
    assert decide_intensity(lungs_only, source="s", forced=Intensity.HU) is Intensity.HU
    assert "body_missing" in flags(lungs_only, Intensity.HU)


def test_one_picture_is_taken_for_upright_on_the_users_word_and_flagged() -> None:
    inverted = 255 - LUNG[12:13]
    with pytest.raises(InputError, match="read it with intensity windowed"):
        decide_intensity(inverted, source="s")
    assert decide_intensity(inverted, source="s", forced=Intensity.WINDOWED) is Intensity.WINDOWED
    assert flags(inverted, Intensity.WINDOWED) == {"grey_inverted"}


@pytest.mark.parametrize("change", [np.asarray, np.flip, np.transpose, lambda a: np.moveaxis(a, 0, 1)[::-1]])
@pytest.mark.parametrize(
    ("voxels", "code"),
    [
        (HU, None),
        (LUNG, None),
        (in_circle(HU + 1024, -1024), 3041),
        (labels(117), 3043),
        (windowed(HU, -160, 240), 3046),
        (255 - LUNG, 3047),
    ],
)
def test_the_order_of_the_axes_changes_nothing(
    voxels: np.ndarray, code: int | None, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    if code is None:
        decide_intensity(change(voxels), source="s")
        return
    with pytest.raises(InputError) as caught:
        decide_intensity(change(voxels), source="s")
    assert caught.value.code == code


def test_a_file_in_another_window_is_refused_by_its_name(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "full.nii.gz", windowed(HU, -1024, 3071), CHEST.affine)
    with pytest.raises(
        InputError, match=r"\[INF-3046\] full.nii.gz has values 0..\d+; soft tissue is near 66"
    ):
        open_scan(path)
