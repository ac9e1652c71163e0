"""One patient in every form a scan is stored in: the same millilitres, and every other number with them."""

import math
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dicom_world
import infnet_runtime
from builders import chest_phantom, reorient, write_nifti
from infnet_runtime.io import open_scan
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.report.text_and_json import to_document
from infnet_runtime.scan.ct import CtVolume
from tiny_models import classes_detector

pytestmark = pytest.mark.slow

TOLERANCE = 1e-6  # relative; of an affine in float32 and a spacing in decimal text
PHANTOM = chest_phantom()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> infnet_runtime.Segmenter:
    return infnet_runtime.load(
        classes_detector(tmp_path_factory.mktemp("model") / "m.onnx"), backend="onnxruntime", threads=1
    )


def numbers(model: infnet_runtime.Segmenter, volume: CtVolume) -> dict[str, Any]:
    found: dict[str, Any] = to_document(model.predict(volume), outputs={}, path=Path("ct"))["quantification"]
    return found


def differences(one: object, other: object, place: str = "") -> list[str]:
    """Where two documents differ by more than the tolerance."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [text for key in one for text in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [text for k, (a, b) in pairs for text in differences(a, b, f"{place}[{k}]")]
    if isinstance(one, float) and isinstance(other, int | float):
        same = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    else:
        same = one == other
    return [] if same else [f"{place}: {one} and {other}"]


def nifti(folder: Path, code: str) -> CtVolume:
    origin_mm = tuple(float(v) for v in np.multiply(dicom_world.ORIGIN_MM, (-1, -1, 1)))
    stored, affine = reorient(PHANTOM.hu, PHANTOM.spacing_mm, code, origin_mm)
    return open_scan(write_nifti(folder / f"{code}.nii.gz", stored, affine)).volume


def dicom(folder: Path, form: str) -> CtVolume:
    single = dicom_world.slices(PHANTOM)
    place = folder / form
    if form == "enhanced":
        dicom_world.write(place, [dicom_world.enhanced(single)])
    else:
        dicom_world.write(place, single[::-1] if form == "head first" else single)
    if form == "zip":
        with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
            for path in place.iterdir():
                archive.write(path, path.name)
        place = folder / "scan.zip"
    return read_dicom(place).volume


def test_a_phantom_has_the_same_numbers_in_every_form(
    model: infnet_runtime.Segmenter, tmp_path: Path
) -> None:
    reference = numbers(model, nifti(tmp_path, "LPS"))
    assert reference["both"]["infection_ml"] == pytest.approx(PHANTOM.infection_ml, rel=0.06)
    forms = {code: nifti(tmp_path, code) for code in ("RAS", "SAL", "PIR")}
    forms |= {form: dicom(tmp_path, form) for form in ("feet first", "head first", "enhanced", "zip")}
    assert {volume.grid.shape for volume in forms.values()} == {(96, 72, 20), (20, 72, 96), (72, 20, 96)}
    for name, volume in forms.items():
        assert (name, differences(reference, numbers(model, volume))) == (name, [])


@pytest.mark.data
def test_a_patient_has_the_same_numbers_as_dicom_and_as_nifti(
    model: infnet_runtime.Segmenter, data_root: Path, tmp_path: Path
) -> None:
    """Converted by dcm2niix, as those do it who have no reader of DICOM."""
    series = data_root / "lidc-idri-dicom" / "LIDC-IDRI-0001"
    if not series.is_dir():
        pytest.skip(f"there is no {series}")
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed (Debian's package of that name)")
    command = ["dcm2niix", "-z", "1", "-b", "n", "-f", "ct", "-o", str(tmp_path), str(series)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    converted = open_scan(tmp_path / "ct.nii.gz").volume
    read = read_dicom(series).volume
    assert read.grid.lps_shape == converted.grid.lps_shape == (133, 512, 512)
    assert np.array_equal(np.asarray(read.to_lps()), np.asarray(converted.to_lps()))
    reference = numbers(model, converted)
    assert reference["both"]["lung_ml"] > 1000
    assert differences(reference, numbers(model, read)) == []


def test_a_number_that_differs_is_named() -> None:
    one = {"both": {"ml": 100.0, "why": None}, "slices": [1.0, 2.0]}
    assert differences(one, {"both": {"ml": 100.00001, "why": None}, "slices": [1.0, 2.0]}) == []
    assert differences(one, {"both": {"ml": 100.001, "why": None}, "slices": [1.0, 2.0]}) == [
        ".both.ml: 100.0 and 100.001"
    ]
    assert differences(one, {"both": {"ml": None, "why": None}, "slices": [1.0]}) == [
        ".both.ml: 100.0 and None",
        ".slices: [1.0, 2.0] and [1.0]",
    ]
