"""Lung masks from files: any orientation, the grid of the scan, and labels of the usual tools."""

from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, ORIENTATIONS, RIGHT, chest_phantom, reorient, write_nifti
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io import read_lungs
from infnet_runtime.scan.ct import CtVolume, Intensity

PHANTOM = chest_phantom()
SCAN = CtVolume(*reorient(PHANTOM.hu, PHANTOM.spacing_mm, "LAS"), Intensity.HU, "scan.nii.gz")


def place(code: str) -> np.ndarray:
    """Affine that puts the same voxels in the same place, stored in another order."""
    stored, affine = reorient(PHANTOM.lungs, PHANTOM.spacing_mm, code)
    volume = CtVolume(stored, affine, Intensity.WINDOWED, code)
    first = [index.reshape(-1)[0] for index in (volume.to_lps(axis) for axis in np.indices(stored.shape))]
    of_scan = [SCAN.to_lps(axis).reshape(-1)[0] for axis in np.indices(SCAN.voxels.shape)]
    affine[:3, 3] += (SCAN.affine @ (*of_scan, 1))[:3] - (affine @ (*first, 1))[:3]
    return affine


def write(path: Path, labels: np.ndarray, code: str = "LAS") -> Path:
    stored, _ = reorient(labels, PHANTOM.spacing_mm, code)
    return write_nifti(path, stored, place(code))


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_a_mask_of_any_orientation_lies_on_the_grid_of_the_scan(tmp_path: Path, code: str) -> None:
    mask = read_lungs(write(tmp_path / "lungs.nii.gz", PHANTOM.lungs.astype(np.int16), code), SCAN)
    assert np.array_equal(mask.to_lps(), PHANTOM.lungs)
    assert mask.grid is SCAN.grid
    assert (mask.origin, mask.labels.dtype, mask.labels.shape) == ("given", np.uint8, SCAN.voxels.shape)


def test_lobes_become_sides(tmp_path: Path) -> None:
    lobes = np.where(PHANTOM.lungs == RIGHT, 4, np.where(PHANTOM.lungs == LEFT, 1, 0)).astype(np.int16)
    lobes[:10][lobes[:10] == 4] = 3
    lobes[10:][lobes[10:] == 1] = 2
    mask = read_lungs(write(tmp_path / "lobes.nii.gz", lobes), SCAN)
    assert np.array_equal(mask.to_lps(), PHANTOM.lungs)


def test_another_grid_is_refused_with_the_distance(tmp_path: Path) -> None:
    stored, _ = reorient(PHANTOM.lungs.astype(np.int16), PHANTOM.spacing_mm, "LAS")
    affine = SCAN.affine.copy()
    affine[0, 3] += 4.0
    path = write_nifti(tmp_path / "moved.nii.gz", stored, affine)
    with pytest.raises(GeometryError, match="their corners are up to 4.00 mm apart") as caught:
        read_lungs(path, SCAN)
    assert caught.value.code == 3062
    path = write_nifti(tmp_path / "cropped.nii.gz", stored[1:], SCAN.affine)
    with pytest.raises(
        GeometryError, match=r"is \(20, 72, 95\) \(slices, rows, columns\), the scan \(20, 72, 96\)"
    ):
        read_lungs(path, SCAN)


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (-1, np.int16, "has values -1..2, expected labels"),
        (0.5, np.float32, "has values between the labels"),
        (7, np.int16, "has the labels"),
    ],
)
def test_what_is_no_label_map(tmp_path: Path, value: float, dtype: type, text: str) -> None:
    labels = PHANTOM.lungs.astype(dtype)
    labels[0, 0, 0] = value
    with pytest.raises(InputError, match=text) as caught:
        read_lungs(write(tmp_path / "lungs.nii.gz", labels), SCAN)
    assert caught.value.code == 3061
