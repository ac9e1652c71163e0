"""A real archive takes the objects as any other, keeps them with their scan, and returns them unchanged."""

from pathlib import Path

import pytest
from pydicom import dcmread

import dicom_world
from dicom_results import result_of
from dicom_tools import Archive
from infnet_runtime.report.dicom.segmentation import write_segmentation
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.dicom.structured_report import write_structured_report


@pytest.mark.slow
@pytest.mark.parametrize("way", ["C-STORE", "REST"])
def test_an_archive_keeps_the_objects_with_their_scan(tmp_path: Path, way: str) -> None:
    phantom = dicom_world.small_chest()
    images = dicom_world.slices(phantom)
    for image in images:
        image.SpecificCharacterSet = "ISO_IR 192"
        image.PatientName = image.ReferringPhysicianName = "Müller^Jürgen=山田^太郎"
    scan = dicom_world.write(tmp_path / "in", images)
    source, result = read_source(scan), result_of(phantom)
    made = [tmp_path / "out/a.seg.dcm", tmp_path / "out/a.sr.dcm"]
    made[0].parent.mkdir()
    segmentation = write_segmentation(made[0], result, source)
    write_structured_report(made[1], result, source, segmentation)

    with Archive(tmp_path / "orthanc") as archive:
        if way == "C-STORE":
            archive.send(scan)
            archive.send_as_the_page_says(tmp_path)
        else:
            for path in (*scan, *made):
                archive.post("/instances", path.read_bytes())
        assert len(archive.asked("/patients")) == 1
        (study,) = archive.asked("/studies")
        kept = archive.asked(f"/studies/{study}/series")
        assert sorted(series["MainDicomTags"]["Modality"] for series in kept) == ["CT", "SEG", "SR"]
        assert sum(len(series["Instances"]) for series in kept) == len(images) + 2

        for path in made:
            own = dcmread(path)
            (tmp_path / "back.dcm").write_bytes(archive.fetched(str(own.SOPInstanceUID)))
            back = dcmread(tmp_path / "back.dcm")
            assert back.get_item("PatientName").value == own.get_item("PatientName").value
            assert back.get("PixelData") == own.get("PixelData")
            assert back == own
