"""DICOM as users have it (shared/data/dicom-field and others): right to the voxel, or refused by name."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from infnet_runtime.cli.case import CaseOptions, open_case
from infnet_runtime.cli.plan import plan_cases
from infnet_runtime.errors import InfnetError
from infnet_runtime.io.dicom import DicomScan, read_dicom
from infnet_runtime.io.nifti import read_nifti

pytestmark = pytest.mark.data

REAL_READ = [
    "lidc_chest",
    "philips_cd",
    "two_slices_no_modality",
    "legacy_single",
    "legacy_enhanced",
    "coded_j2k",
    "coded_jpegls",
    "coded_jpeg",
]
REAL_REFUSED = [
    "ge_tilt_variable",
    "siemens_tilt",
    "ge_increment",
    "ny_sbu_patients",
    "pydicom_fileset",
    "non_images",
    "truncated_mr",
    "ctimage_syntaxes",
]
DERIVED_READ = [
    "plain",
    "names_shuffled",
    "reversed_order",
    "nested_with_rubbish",
    "implicit_vr",
    "big_endian",
    "deflated",
    "rle",
    "no_preamble",
    "unsigned_12bit",
    "rescale_per_slice",
    "monochrome1",
    "padding_wrong",
    "anisotropic_pixels",
    "coronal",
    "oblique",
    "jitter",
    "thickness_contradicts",
    "duplicate_files",
    "charset",
    "beside_localizer_dose_sr",
    "beside_seg_rtstruct_pr",
    "localizer_same_series",
    "enhanced",
]
DERIVED_REFUSED = [
    "thin_and_thick",
    "two_kernels",
    "two_patients",
    "missing_slice",
    "variable_spacing",
    "same_position_other_pixels",
    "two_acquisitions",
    "gantry_tilt",
    "missing_position",
    "missing_rescale",
    "pixel_spacing_differs",
    "size_differs",
    "orientation_differs",
    "truncated",
    "not_ct",
    "windowed_8bit",
    "only_non_images",
    "empty_folder",
    "single_slice",
]
REAL, DERIVED = REAL_READ + REAL_REFUSED, DERIVED_READ + DERIVED_REFUSED
READ = {*REAL_READ, *DERIVED_READ}
"""Those of which more than a refusal is wanted, though the truth of some leaves the choice."""
NO_CT = range(3040, 3049)
SAME_MM = 1e-3  # positions are written with 6 digits


@pytest.fixture(scope="module")
def field(data_root: Path) -> Path:
    return data_root / "dicom-field"


@pytest.fixture(scope="module")
def derived(field: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("field")
    series = field.parent / "ct-misc" / "cip-ct64-dicom"
    subprocess.run([sys.executable, field / "make_cases.py", series, out], check=True, capture_output=True)
    return out


@pytest.mark.parametrize("name", REAL)
def test_a_real_case_is_right_or_refused(field: Path, name: str) -> None:
    check(field, name)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_case_is_right_or_refused(derived: Path, name: str) -> None:
    check(derived, name)


def test_no_case_is_left_out(field: Path, derived: Path) -> None:
    assert set(json.loads((field / "truth.json").read_text())) == set(REAL)
    assert set(json.loads((derived / "truth.json").read_text())) == set(DERIVED)


def check(root: Path, name: str) -> None:
    truth = json.loads((root / "truth.json").read_text())[name]
    references = [
        root / one["read"]["reference"] for one in truth["expect"] if "reference" in one.get("read", ())
    ]
    found = outcome(root / truth["input"])
    if isinstance(found, DicomScan):
        assert name in READ
        assert any(same(found, reference) for reference in references)
    elif name in READ:  # what is said of the values alone, as of the same values in NIfTI
        assert found.code in NO_CT
        with pytest.raises(InfnetError) as of_nifti:
            read_nifti(references[0])
        assert of_nifti.value.code in NO_CT
    else:
        patterns = [pattern for one in truth["expect"] for pattern in one.get("refuse", ())]
        assert any(re.search(pattern, str(found)) for pattern in patterns), found


def test_the_command_refuses_what_the_reader_refuses(field: Path, derived: Path, tmp_path: Path) -> None:
    for root in (field, derived):
        for name, truth in json.loads((root / "truth.json").read_text()).items():
            patterns = [pattern for one in truth["expect"] for pattern in one.get("refuse", ())]
            if name not in READ:
                said = refusals_of_the_command(root / truth["input"], tmp_path)
                assert any(re.search(pattern, said) for pattern in patterns), (name, said)


def refusals_of_the_command(path: Path, out: Path) -> str:
    try:
        plan = plan_cases([path], out=out, kinds=("mask",))
    except InfnetError as error:
        return str(error)
    said = []
    for case in plan.cases:
        try:
            if case.refusal:
                raise case.refusal
            open_case(case, CaseOptions())
        except InfnetError as error:
            said.append(str(error))
        else:
            raise AssertionError(f"{case.path} is read")
    return "\n".join(said)


def outcome(path: Path) -> DicomScan | InfnetError:
    try:
        return read_dicom(path)
    except InfnetError as error:
        return error


def same(scan: DicomScan, reference: Path) -> bool:
    stored = np.asarray(scan.volume.voxels)
    own, truth = (
        nib.as_closest_canonical(image)
        for image in (nib.Nifti1Image(stored, scan.volume.affine), nib.load(reference))
    )
    return np.array_equal(np.asarray(own.dataobj), np.asarray(truth.dataobj)) and bool(
        np.abs(own.affine - truth.affine).max() < SAME_MM
    )


def code_of(path: Path) -> int:
    found = outcome(path)
    assert isinstance(found, InfnetError)
    return found.code


def test_other_sets_are_read_or_refused(data_root: Path) -> None:
    edge = data_root / "dicom-edge-cases"
    assert code_of(edge / "nm-converted-ct") == 3251
    assert code_of(data_root / "covid-ny-sbu-dicom" / "axial") == 3252
    assert code_of(data_root / "covid-ny-sbu-dicom" / "reformats") == 3252
    found: dict[str, Any] = {
        "jpeg2000-upper-abdomen": ((512, 512, 20), 2.0),
        "two-slice-chest": ((512, 512, 2), 1.0),
    }
    for name, (shape, step_mm) in found.items():
        volume = read_dicom(edge / name).volume
        assert volume.voxels.shape == shape
        assert volume.spacing_mm[2] == pytest.approx(step_mm, abs=0.01)


def test_each_slice_of_a_folder_of_patients_is_refused_as_one_slice(data_root: Path) -> None:
    files = sorted((data_root / "covid-ny-sbu-dicom").rglob("*.dcm"))
    assert len(files) > 10
    assert {code_of(file) for file in files} == {3269}


def test_a_small_whole_chest_is_right(data_root: Path) -> None:
    volume = read_dicom(data_root / "ct-misc" / "cip-ct64-dicom").volume
    assert volume.voxels.shape == (64, 64, 79)
    assert (volume.voxels.min(), volume.voxels.max()) == (-1007, 1095)
    assert volume.spacing_mm == pytest.approx((4.17187, 4.17187, 3.98734), abs=1e-4)
    assert volume.grid.orientation == "LPS"


@pytest.mark.slow
def test_a_clinical_chest_is_right(data_root: Path) -> None:
    volume = read_dicom(data_root / "lidc-idri-dicom").volume
    assert volume.voxels.shape == (512, 512, 133)
    assert volume.voxels.dtype == np.int16
    assert (volume.voxels.min(), volume.voxels.max()) == (-2048, 3071)
    assert volume.spacing_mm == pytest.approx((0.703125, 0.703125, 2.5))
