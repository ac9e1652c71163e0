"""Pixels coarser than the network knows are flagged, and refused where nothing can be told from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.errors import GeometryError
from infnet_runtime.io import open_scan
from infnet_runtime.plausible.resolution import resolution_doubts
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.scan.phantom import ChestPhantom


def flags_of(phantom: ChestPhantom, *, has_size: bool = True) -> list[str]:
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "chest")
    lungs = lung_mask(phantom.lungs, scan.grid)
    return [flag.name for flag in resolution_doubts(scan, lungs, has_size=has_size)]


def chest(row_mm: float, column_mm: float, slice_mm: float = 5.0, *, width_mm: float = 384.0) -> ChestPhantom:
    """A chest of one size in pixels of another."""
    shape = (4, round(0.8 * width_mm / row_mm), round(width_mm / column_mm))
    return chest_phantom(shape, (slice_mm, row_mm, column_mm), noise_hu=0)


@pytest.mark.parametrize("pixel_mm", [0.4, 0.7, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("slice_mm", [1.0, 5.0, 8.0])
def test_what_the_network_knows_passes(pixel_mm: float, slice_mm: float) -> None:
    assert flags_of(chest(pixel_mm, pixel_mm, slice_mm)) == []


@pytest.mark.parametrize("pixel_mm", [(2.2, 2.2), (4.0, 4.0), (0.8, 3.0), (5.0, 0.8), (6.0, 6.0)])
def test_coarse_pixels_warn(pixel_mm: tuple[float, float]) -> None:
    assert flags_of(chest(*pixel_mm)) == ["pixels_too_coarse"]


@pytest.mark.parametrize("pixel_mm", [(6.2, 6.2), (8.0, 8.0), (0.8, 7.0)])
def test_pixels_that_show_nothing_are_refused(pixel_mm: tuple[float, float]) -> None:
    with pytest.raises(GeometryError, match=r"has pixels of .* mm, expected 2\.1 mm or less") as error:
        flags_of(chest(*pixel_mm))
    assert error.value.code == 3102
    # Without a size the lungs tell.
    assert "pixels_too_coarse" in flags_of(chest(8.0, 8.0), has_size=False)


@pytest.mark.parametrize(("width_mm", "flags"), [(110.0, ["pixels_too_coarse"]), (150.0, [])])
def test_a_small_patient_needs_finer_pixels(width_mm: float, flags: list[str]) -> None:
    assert flags_of(chest(1.0, 1.0, width_mm=width_mm)) == flags


def test_slices_far_apart_warn_where_there_are_several() -> None:
    far = chest(1.0, 1.0, 15.0)
    assert flags_of(far) == ["slices_far_apart"]
    one = replace(far, hu=far.hu[1:2], lungs=far.lungs[1:2], infection=far.infection[1:2])
    assert flags_of(one) == []


def test_without_lung_only_the_pixels_are_judged() -> None:
    phantom = chest(1.0, 1.0)
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "chest")
    none = lung_mask(np.zeros_like(phantom.lungs), scan.grid, origin="threshold")
    assert resolution_doubts(scan, none, has_size=False) == ()


# Of the scans at hand these are coarse or far apart, and no other.
COARSE_SERIES = (
    "coded_j2k",
    "coded_jpeg",
    "coded_jpegls",
    "lidc_chest",
    "philips_cd",
    "two_slices_no_modality",
)
COARSE = {*COARSE_SERIES, "abdomen_example_ct"}


@pytest.mark.data
def test_of_the_scans_at_hand_the_coarse_ones_are_flagged_and_none_is_refused(data_root: Path) -> None:
    """What is judged here is the grid; a mask as wide as the picture stands in for the lungs."""
    paths = [
        path
        for pattern in ("radiopaedia-covid*/*_ct.nii.gz", "healthy*/*_ct.nii.gz", "ct-misc/**/*.nii.gz")
        for path in sorted(data_root.glob(pattern))
    ]
    paths += [data_root / f"dicom-field/_truth/{name}.nii.gz" for name in COARSE_SERIES]
    flagged = set()
    for path in paths:
        scan = open_scan(path).volume
        lungs = lung_mask(np.ones(scan.voxels.shape, np.uint8), scan.grid)
        if resolution_doubts(scan, lungs, has_size=True):
            flagged.add(path.name.split(".")[0])
    assert flagged == COARSE
