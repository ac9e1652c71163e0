"""The lung finder against the plain one, bit for bit: what makes it quick changes no lung."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import simple_lungs
from infnet_runtime.arrays import AnyArray
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import find_lungs
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.scan.realistic_chest import realistic_chest

Spacing = tuple[float, float, float]
SPACING_MM: Spacing = (10.0, 1.7, 1.7)


@pytest.fixture(scope="module")
def chest() -> AnyArray:
    """HU (slice, row, column)."""
    return realistic_chest((26, 180, 233), SPACING_MM).hu


def one_lung(hu: AnyArray) -> AnyArray:
    return hu[:, :, :116]


def white_lung(hu: AnyArray) -> AnyArray:
    white = hu.copy()
    half = white[:, :, 120:]
    half[half < -200] = 20
    return white


def cropped(hu: AnyArray) -> AnyArray:
    return hu[4:20, 30:150, 25:205]


def padded(hu: AnyArray) -> AnyArray:
    """A round field of view, -2000 around."""
    rows, columns = np.indices(hu.shape[1:])
    outside = (rows - 90) ** 2 / 88**2 + (columns - 116) ** 2 / 114**2 > 1
    return np.where(outside, -2000, hu)


def filled(hu: AnyArray) -> AnyArray:
    """Turned a little and filled with 0, whose rim is blurred."""
    rows, columns = np.indices(hu.shape[1:])
    return np.where(rows + columns < 60, 0, hu)


def touching(hu: AnyArray) -> AnyArray:
    """Air from one lung to the other, as where they touch in front of the aorta."""
    joined = hu.copy()
    joined[8:18, 70:76, 60:170] = -850
    return joined


def bowel(hu: AnyArray) -> AnyArray:
    """Loops of gas below the lungs."""
    gas = hu.copy()
    gas[:3, 60:110, 40:100] = -1000
    gas[0:5, 70:100, 130:160] = -980
    return gas


def noisy(hu: AnyArray) -> AnyArray:
    noise = np.random.default_rng(3).normal(0, 120, hu.shape)
    return (hu + noise).astype(np.int16)


KINDS: dict[str, Callable[[AnyArray], AnyArray]] = {
    "whole": lambda hu: hu,
    "one lung": one_lung,
    "white lung": white_lung,
    "cropped": cropped,
    "padded": padded,
    "filled": filled,
    "touching": touching,
    "bowel": bowel,
    "noisy": noisy,
    "one slice": lambda hu: hu[12:13],
    "isolated slices": lambda hu: hu[::9],
    "upside down": lambda hu: hu[::-1],
    "mirrored": lambda hu: hu[:, :, ::-1],
    "front to back": lambda hu: hu[:, ::-1],
    "columns as rows": lambda hu: hu.transpose(0, 2, 1),
    "slices as columns": lambda hu: np.ascontiguousarray(hu.transpose(1, 2, 0)).transpose(2, 0, 1),
    "float": lambda hu: hu.astype(np.float32),
    "32 bits": lambda hu: hu.astype(np.int32),
    "nothing": lambda hu: np.full((3, 40, 50), -1000, np.int16),
    "tissue": lambda hu: np.full((3, 40, 50), 40, np.int16),
    "one pixel": lambda hu: hu[:, :1, :1],
}


def grey(hu: AnyArray) -> AnyArray:
    window = np.clip((hu.astype(np.float32) + 1150) * (255 / 1500), 0, 255)
    return np.asarray(window, np.uint8)


def is_equal(voxels: AnyArray, spacing_mm: Spacing, intensity: Intensity) -> bool:
    before = voxels.copy()
    quick = find_lungs(voxels, spacing_mm, intensity)
    plain = simple_lungs.find_lungs(voxels, spacing_mm, intensity)
    return np.array_equal(voxels, before) and quick.dtype == plain.dtype and np.array_equal(quick, plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intensity", list(Intensity))
def test_lungs_are_those_of_the_plain_finder(chest: AnyArray, kind: str, intensity: Intensity) -> None:
    hu = KINDS[kind](chest)
    voxels = hu if intensity is Intensity.HU else grey(hu)
    assert is_equal(voxels, SPACING_MM, intensity)


@pytest.mark.parametrize(
    "spacing_mm",
    [(0.6, 1.7, 1.7), (1.0, 2.4, 1.1), (10.0, 0.9, 0.9), (3.0, 4.0, 1.2), (25.0, 1.7, 1.7), (10.0, 9.0, 9.0)],
)
def test_lungs_are_equal_with_other_spacings(chest: AnyArray, spacing_mm: Spacing) -> None:
    assert is_equal(chest, spacing_mm, Intensity.HU)


@pytest.mark.parametrize("seed", range(3))
def test_lungs_of_drawn_chests_are_equal(seed: int) -> None:
    drawn = chest_phantom((24, 130, 150), (9.0, 2.5, 2.5), seed=seed, noise_hu=60.0)
    assert is_equal(drawn.hu, drawn.spacing_mm, Intensity.HU)
    assert is_equal(grey(drawn.hu), drawn.spacing_mm, Intensity.WINDOWED)


def test_the_comparison_finds_a_voxel(chest: AnyArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: object) -> AnyArray:
        lungs = simple_lungs.find_lungs(chest, SPACING_MM, Intensity.HU)
        lungs[12, 90, 116] ^= 1
        return lungs

    assert simple_lungs.find_lungs(chest, SPACING_MM, Intensity.HU).any()
    monkeypatch.setitem(globals(), "find_lungs", other)
    assert not is_equal(chest, SPACING_MM, Intensity.HU)


SCANS = (
    "radiopaedia-covid-volumes/radiopaedia_4_85506_1_ct.nii.gz",
    "radiopaedia-covid-volumes/radiopaedia_7_85703_0_ct.nii.gz",
    "radiopaedia-covid-volumes-2/radiopaedia_10_85902_1_ct.nii.gz",
    "healthy-ct-volumes/LIDC-IDRI-0002_low_ct.nii.gz",
    "healthy-ct-volumes/Lung_Dx-A0002-B70f_high_ct.nii.gz",
    "ct-misc/totalsegmentator/abdomen_example_ct.nii.gz",
    "ct-misc/totalsegmentator/pulmonary_ct_cropped.nii.gz",
)


@pytest.mark.data
@pytest.mark.parametrize("scan", SCANS)
def test_lungs_of_scans_are_equal(data_root: Path, scan: str) -> None:
    volume = open_scan(data_root / scan).volume
    assert is_equal(volume.to_lps(), volume.lps_spacing_mm, volume.intensity)
