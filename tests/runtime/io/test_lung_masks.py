"""Lung masks from files: any orientation, the grid of the scan, and labels of the usual tools."""

from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, ORIENTATIONS, RIGHT, chest_phantom, forge_nifti, reorient, write_nifti
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io import read_lungs
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_labels import LungLabels

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
    lobes[:4][lobes[:4] == 3] = 5
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
        (np.nan, np.float32, "has 1 voxels that are not finite"),
    ],
)
def test_what_is_no_label_map(tmp_path: Path, value: float, dtype: type, text: str) -> None:
    labels = PHANTOM.lungs.astype(dtype)
    labels[0, 0, 0] = value
    with pytest.raises(InputError, match=text) as caught:
        read_lungs(write(tmp_path / "lungs.nii.gz", labels), SCAN)
    assert caught.value.code == 3063


def test_labels_that_are_not_known_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "lungs.nii.gz", np.array([0, 7, 300], np.int16)[PHANTOM.lungs])
    with pytest.raises(InputError, match=r"lungs.nii.gz has the labels 7 .*--lung-labels right=7,left=300"):
        read_lungs(path, SCAN)
    assert np.array_equal(read_lungs(path, SCAN, LungLabels((7,), (300,))).to_lps(), PHANTOM.lungs)


def forged(path: Path, stored: np.ndarray, **scaling: float) -> Path:
    """A mask on the grid of the scan, with a scaling in its header."""
    in_order = reorient(stored, PHANTOM.spacing_mm, "LAS")[0]
    rows = {f"srow_{axis}": tuple(SCAN.affine[k]) for k, axis in enumerate("xyz")}
    return forge_nifti(
        path,
        in_order,
        dim=(3, *in_order.shape, 1, 1, 1, 1),
        datatype={"uint8": 2, "int16": 4, "float32": 16}[in_order.dtype.name],
        bitpix=8 * in_order.itemsize,
        pixdim=(1.0, *SCAN.spacing_mm, 0.0, 0.0, 0.0, 0.0),
        qform_code=0,
        **rows,
        **scaling,
    )


@pytest.mark.parametrize(
    ("slope", "inter"),
    [(np.nan, np.nan), (0.0, 0.0), (0.0, 5.0), (1.0, np.nan), (np.inf, 0.0), (1.0, 0.0)],
)
def test_a_scaling_that_is_none_changes_nothing(tmp_path: Path, slope: float, inter: float) -> None:
    path = forged(tmp_path / "lungs.nii", PHANTOM.lungs, scl_slope=slope, scl_inter=inter)
    assert np.array_equal(read_lungs(path, SCAN).to_lps(), PHANTOM.lungs)


def test_labels_are_scaled_as_the_header_says(tmp_path: Path) -> None:
    """As nibabel saves labels of type float under the header of a CT, and others with a negative slope."""
    over_16_bits = np.array([-32768, 0, 32767], np.int16)[PHANTOM.lungs]
    step = 2 / 65535
    path = forged(tmp_path / "a.nii", over_16_bits, scl_slope=step, scl_inter=32768 * step)
    assert np.array_equal(read_lungs(path, SCAN).to_lps(), PHANTOM.lungs)
    path = forged(tmp_path / "b.nii", (PHANTOM.lungs // 2).astype(np.uint8), scl_slope=2.0)
    assert np.array_equal(read_lungs(path, SCAN).to_lps() > 0, PHANTOM.lungs == LEFT)
    path = forged(tmp_path / "c.nii", 2 - PHANTOM.lungs, scl_slope=-1.0, scl_inter=2.0)
    assert np.array_equal(read_lungs(path, SCAN).to_lps(), PHANTOM.lungs)
    path = forged(tmp_path / "d.nii", PHANTOM.lungs, scl_slope=0.3)
    with pytest.raises(InputError, match=r"d.nii \(scl_slope 0.3, scl_inter 0 applied\) has values between"):
        read_lungs(path, SCAN)


def test_floats_beyond_a_byte_do_not_wrap_around(tmp_path: Path) -> None:
    path = write(tmp_path / "lungs.nii.gz", np.array([0, 257, 258], np.float32)[PHANTOM.lungs])
    with pytest.raises(InputError, match=r"has the labels 257 .*, 258 ") as caught:
        read_lungs(path, SCAN)
    assert caught.value.code == 3061


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("series", 3002, "series is a folder; a lung mask is one NIfTI file"),
        ("lungs.dcm", 3003, "lungs.dcm is no NIfTI file; .* a DICOM segmentation too"),
        ("lungs.png", 3003, "lungs.png is no NIfTI file"),
        ("lungs.nrrd", 3003, "lungs.nrrd is no NIfTI file"),
        ("none.nii.gz", 3001, "there is no lung mask .*none.nii.gz"),
    ],
)
def test_other_files(tmp_path: Path, name: str, code: int, text: str) -> None:
    (tmp_path / "series").mkdir()
    for other in ("lungs.dcm", "lungs.png", "lungs.nrrd"):
        (tmp_path / other).write_bytes(bytes(200))
    with pytest.raises(InputError, match=text) as caught:
        read_lungs(tmp_path / name, SCAN)
    assert caught.value.code == code
