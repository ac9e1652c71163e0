"""Labels of volumes: where they lie, and what their stored numbers mean."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from builders import chest_phantom, reorient, write_nifti
from infnet_runtime.errors import InputError
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.scan.ct import CtVolume
from infnet_train.data.pictures import DataError
from infnet_train.data.volumes import labels_on, slices_of_volume

PHANTOM = chest_phantom()
INFECTION = PHANTOM.infection.astype(np.uint8)


@pytest.fixture
def scan(tmp_path: Path) -> CtVolume:
    path = write_nifti(tmp_path / "ct.nii.gz", *reorient(PHANTOM.hu, PHANTOM.spacing_mm, "LPS"))
    return read_nifti(path).volume


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAR", "PIL"])
def test_labels_stored_in_another_orientation_lie_where_the_scan_lies(
    scan: CtVolume, tmp_path: Path, code: str
) -> None:
    path = write_nifti(tmp_path / "m.nii.gz", *reorient(INFECTION, PHANTOM.spacing_mm, code))
    assert np.array_equal(labels_on(scan, path), INFECTION)


@pytest.mark.parametrize(
    ("axis", "by"),
    [(0, 0.05), (1, -0.05), (2, 0.05), (3, 0.5)],  # of the affine: a spacing, or the origin
)
def test_a_spacing_a_little_off_is_another_grid(scan: CtVolume, tmp_path: Path, axis: int, by: float) -> None:
    stored, affine = reorient(INFECTION, PHANTOM.spacing_mm, "LPS")
    if axis < 3:
        affine[:3, axis] *= 1 + by / PHANTOM.spacing_mm[2 - axis]
    else:
        affine[0, 3] += by
    write_nifti(tmp_path / "m.nii.gz", stored, affine)
    with pytest.raises(
        DataError, match=r"their corners are up to \d+\.\d\d mm apart: they lie on diff"
    ) as caught:
        labels_on(scan, tmp_path / "m.nii.gz")
    assert caught.value.code == 3113


def test_rounding_of_an_affine_is_the_same_grid(scan: CtVolume, tmp_path: Path) -> None:
    stored, affine = reorient(INFECTION, PHANTOM.spacing_mm, "LPS")
    write_nifti(tmp_path / "m.nii.gz", stored, affine + np.diag([1e-4, 1e-4, 1e-4, 0]))
    assert np.array_equal(labels_on(scan, tmp_path / "m.nii.gz"), INFECTION)


def scaled(path: Path, stored: npt.NDArray[Any], slope: float, inter: float) -> Path:
    """A label map whose header has a scaling, as programs write it."""
    write_nifti(path, *reorient(stored, PHANTOM.spacing_mm, "LPS"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, slope, inter)  # scl_slope and scl_inter
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("stored", "slope", "inter"),
    [
        (INFECTION.astype(np.int16) * 200, 1 / 200, 0.0),
        (INFECTION.astype(np.int16) * 4 + 8, 0.25, -2.0),
        ((1 - INFECTION).astype(np.int16), -1.0, 1.0),
        (INFECTION, np.nan, np.nan),
        (INFECTION.astype(np.float32), 1.0, 0.0),
        (INFECTION.astype(np.int16) * 32767, 1 / 32767, 0.0),
    ],
)
def test_labels_are_read_by_their_scaling(
    scan: CtVolume, tmp_path: Path, stored: npt.NDArray[Any], slope: float, inter: float
) -> None:
    path = scaled(tmp_path / "m.nii", stored, slope, inter)
    assert np.array_equal(labels_on(scan, path), INFECTION)
    made = list(slices_of_volume(tmp_path / "ct.nii.gz", path))
    found = sum(int((one.infection > 0).sum()) for one in made)
    assert found == INFECTION.sum()


@pytest.mark.parametrize("value", [0.5, -1.0, np.inf])
def test_what_is_no_label_is_refused(scan: CtVolume, tmp_path: Path, value: float) -> None:
    labels = np.where(PHANTOM.infection, value, 0).astype(np.float32)
    path = write_nifti(tmp_path / "m.nii.gz", *reorient(labels, PHANTOM.spacing_mm, "LPS"))
    with pytest.raises(InputError, match="m.nii.gz") as caught:
        labels_on(scan, path)
    assert caught.value.code == 3063
