"""Infection and lobe masks from files: any orientation, the grid of the scan, and labels that are known."""

from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom, reorient, write_nifti
from infnet_runtime.errors import GeometryError, InfnetError, InputError
from infnet_runtime.io.infection_masks import read_infection
from infnet_runtime.io.lobe_masks import expect_lobes, read_lobes
from infnet_runtime.scan.ct import CtVolume, Intensity

PHANTOM = chest_phantom((16, 36, 48), (15.0, 9.0, 8.0))
SCAN = CtVolume(*reorient(PHANTOM.hu, PHANTOM.spacing_mm, "LAS"), Intensity.HU, "scan.nii.gz")
LOBES = np.where(PHANTOM.lungs == LEFT, 1, np.where(PHANTOM.lungs == RIGHT, 3, 0)).astype(np.uint8)
LOBES[:9][LOBES[:9] == 3] = 4
LOBES[:7][LOBES[:7] == 1] = 2
LOBES[:6][LOBES[:6] == 4] = 5
NAMES = {
    "lung_upper_lobe_left": 1,
    "lung_lower_lobe_left": 2,
    "lung_upper_lobe_right": 3,
    "lung_middle_lobe_right": 4,
    "lung_lower_lobe_right": 5,
}


def write(path: Path, labels: np.ndarray, code: str = "PSR", shift_mm: float = 0.0) -> Path:
    stored, affine = reorient(labels, PHANTOM.spacing_mm, code)
    affine[2, 3] += shift_mm
    return write_nifti(path, stored, affine)


def folder_of_lobes(path: Path, lobes: np.ndarray, ending: str = ".nii.gz") -> Path:
    path.mkdir()
    for name, label in NAMES.items():
        write(path / f"{name}{ending}", (lobes == label).astype(np.uint8))
    return path


def refused(error: type[InfnetError], code: int, read: object, *arguments: object) -> str:
    with pytest.raises(error) as caught:
        read(*arguments)  # type: ignore[operator]
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_an_infection_mask_of_any_orientation_and_type(tmp_path: Path, dtype: type) -> None:
    labels = PHANTOM.infection.astype(dtype) * (1 + (np.arange(16) % 2)[:, None, None].astype(dtype))
    mask = read_infection(write(tmp_path / "mask.nii.gz", labels), SCAN)
    assert mask.dtype == np.uint8
    assert np.array_equal(SCAN.to_lps(mask), labels)


def test_an_infection_mask_on_another_grid_is_refused_with_both(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.nii.gz", PHANTOM.infection.astype(np.uint8), shift_mm=3.0)
    said = refused(GeometryError, 3330, read_infection, path, SCAN)
    assert "the infection mask mask.nii.gz is (16, 36, 48)" in said
    assert "the scan (16, 36, 48), and their corners are up to 3.00 mm apart" in said


def test_other_labels_of_an_infection_mask_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.nii.gz", PHANTOM.infection.astype(np.uint8) * np.uint8(255))
    assert "mask.nii.gz has the labels 0, 255; expected 0 and 1" in refused(
        InputError, 3331, read_infection, path, SCAN
    )
    assert "there is no infection mask" in refused(
        InputError, 3001, read_infection, tmp_path / "none.nii", SCAN
    )


def test_lobes_come_from_a_file_or_a_folder(tmp_path: Path) -> None:
    for path in (
        write(tmp_path / "lobes.nii.gz", LOBES),
        folder_of_lobes(tmp_path / "gz", LOBES),
        folder_of_lobes(tmp_path / "plain", LOBES, ".nii"),
    ):
        expect_lobes(path)
        assert np.array_equal(SCAN.to_lps(read_lobes(path, SCAN)), LOBES)


def test_lobes_that_lack_one_or_overlap_are_refused(tmp_path: Path) -> None:
    path = folder_of_lobes(tmp_path / "lobes", LOBES)
    write(path / "lung_lower_lobe_left.nii.gz", ((LOBES == 1) | (LOBES == 2)).astype(np.uint8))
    said = refused(InputError, 3334, read_lobes, path, SCAN)
    assert f"marks {np.count_nonzero(LOBES == 1)} voxels that belong to another lobe" in said
    (path / "lung_middle_lobe_right.nii.gz").unlink()
    for read in ((expect_lobes, path), (read_lobes, path, SCAN)):
        assert "lacks lung_middle_lobe_right.nii.gz;" in refused(InputError, 3334, *read)


def test_lobes_on_another_grid_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "lobes.nii.gz", LOBES[1:])
    assert "the lobe mask lobes.nii.gz is (15, 36, 48)" in refused(
        GeometryError, 3335, read_lobes, path, SCAN
    )
