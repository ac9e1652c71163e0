"""A DICOM series in, its objects beside the other results: the same numbers, the patient in DICOM alone."""

import json
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

import dicom_world
import infnet_runtime
from builders import write_nifti
from dicom_results import result_of
from dicom_tools import complaints, read_back
from infnet_runtime.cli.ahead import ReadScan
from infnet_runtime.cli.case import CaseOptions, process_case
from infnet_runtime.cli.plan import Case
from infnet_runtime.errors import OutputError
from infnet_runtime.io import Scan, open_scan
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.files import result_files
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import mid_grey_detector

KINDS = ("mask", "lungs", "montage", "seg", "sr")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> infnet_runtime.Segmenter:
    return infnet_runtime.load(
        mid_grey_detector(tmp_path_factory.mktemp("model") / "m.onnx"), backend="onnxruntime", threads=1
    )


def run(model: infnet_runtime.Segmenter, scan: Scan, folder: Path) -> dict[str, Path]:
    files = result_files(Path("series"), folder, ".nii.gz", KINDS)
    process_case(model, Case(Path("series"), files), CaseOptions(), lambda _: ReadScan(scan, 0.0))
    return {**files.files, "report": files.report}


def test_the_objects_show_the_mask_and_hold_its_numbers(
    tmp_path: Path, model: infnet_runtime.Segmenter
) -> None:
    dicom_world.write(tmp_path / "in", dicom_world.slices(chest_phantom())[::-1])
    files = run(model, read_dicom(tmp_path / "in"), tmp_path / "out")
    report = json.loads(files["report"].read_text("utf-8"))
    assert report["outputs"]["seg"] == "series.seg.dcm"
    assert report["outputs"]["sr"] == "series.sr.dcm"
    for kind in ("seg", "sr"):
        assert complaints(files[kind]) == []

    import nibabel

    image = nibabel.load(files["mask"])
    marked = np.argwhere(np.asarray(image.dataobj)) @ image.affine[:3, :3].T + image.affine[:3, 3]
    grid, mask = read_back(files["seg"], tmp_path / "back")[3]
    shown = np.argwhere(mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    assert len(shown) > 100
    in_order = [np.round(places, 2)[np.lexsort(np.round(places, 2).T)] for places in (marked, shown)]
    assert np.allclose(*in_order, atol=0.02)
    ml = report["quantification"]["both"]["infection_ml"]
    assert len(shown) * grid.voxel_mm3 / 1000 == pytest.approx(ml, rel=1e-6)


def test_the_patient_is_in_dicom_alone(
    tmp_path: Path,
    model: infnet_runtime.Segmenter,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dicom_world.write(tmp_path / "in", dicom_world.slices(chest_phantom()))
    with caplog.at_level(logging.DEBUG):
        files = run(model, read_dicom(tmp_path / "in"), tmp_path / "out")
    planted = dicom_world.PLANTED.encode()
    for path in (tmp_path / "out").iterdir():
        assert dicom_world.PLANTED not in path.name
        assert (planted in path.read_bytes()) == (path.suffix == ".dcm"), path.name
    assert str(dcmread(files["sr"]).PatientID) == dicom_world.PATIENT["PatientID"]
    assert dicom_world.PLANTED not in caplog.text + "".join(capfd.readouterr())


def test_a_scan_from_nifti_is_refused_before_the_network_runs(
    tmp_path: Path, model: infnet_runtime.Segmenter
) -> None:
    phantom = chest_phantom()
    write_nifti(tmp_path / "scan.nii.gz", phantom.hu, phantom.affine)
    with pytest.raises(
        OutputError, match="no DICOM series, and --dicom-out writes objects that refer"
    ) as error:
        run(model, open_scan(tmp_path / "scan.nii.gz"), tmp_path / "out")
    assert error.value.code == 8051
    assert not (tmp_path / "out").exists()


def test_a_series_in_an_archive(tmp_path: Path) -> None:
    phantom = chest_phantom()
    files = dicom_world.write(
        tmp_path / "in", dicom_world.slices(phantom), syntax=DeflatedExplicitVRLittleEndian
    )
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in files:
            archive.write(path, f"study/{path.name}")
    scan = read_dicom(tmp_path / "scan.zip")
    made = infnet_runtime.write_segmentation(tmp_path / "seg.dcm", result_of(phantom), scan.source)
    assert made.segments[-1].ml == pytest.approx(phantom.infection_ml)
    assert complaints(tmp_path / "seg.dcm") == []
    assert dcmread(tmp_path / "seg.dcm").PatientID == dicom_world.PATIENT["PatientID"]


def test_files_that_changed_meanwhile_are_refused(tmp_path: Path) -> None:
    images = dicom_world.slices()
    (first, *_) = dicom_world.write(tmp_path / "in", images)
    scan = read_dicom(tmp_path / "in")
    images[0].SOPInstanceUID = "1.2.3.4"
    dicom_world.write(tmp_path / "in", images)
    assert first.exists()
    with pytest.raises(OutputError, match="hold other images than when the scan was read") as error:
        read_source(scan.source)
    assert error.value.code == 8053


def test_as_a_program_does_it(tmp_path: Path, model: infnet_runtime.Segmenter) -> None:
    dicom_world.write(tmp_path / "in", [dicom_world.enhanced(dicom_world.slices(chest_phantom()))])
    scan = read_dicom(tmp_path / "in")
    result = model.predict(scan.volume)
    written = infnet_runtime.write_segmentation(tmp_path / "seg.dcm", result, scan.source)
    infnet_runtime.write_structured_report(tmp_path / "sr.dcm", result, scan.source, written)
    assert result.quantification.both is not None
    assert written.segments[-1].ml == pytest.approx(result.quantification.both.infection_ml)
    for name in ("seg.dcm", "sr.dcm"):
        assert complaints(tmp_path / name) == []
