"""Nothing of the patient in headers reaches a page, a picture, a table or the console."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from builders import chest_phantom, reorient
from infnet_runtime import Grid, Segmentation, load
from infnet_runtime.report.html import report_html
from infnet_runtime.report.montage import montage_png
from infnet_runtime.report.tables import region_table, scan_row, scan_table
from infnet_runtime.report.text_and_json import to_document, to_json, to_text
from tiny_models import mid_grey_detector

PLANTED = "Geheim"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


def test_a_nifti_header_stays_in_the_scan(model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "RAS")
    image = nib.Nifti1Image(stored, affine)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = PLANTED
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PLANTED.encode()))
    scan = tmp_path / "in" / "scan.nii"
    scan.parent.mkdir()
    nib.save(image, scan)
    assert PLANTED.encode() in scan.read_bytes()
    out = tmp_path / "out"
    options = ["--report", "--montage", "--csv-regions", "--lungs-out", "-v", "--csv", str(out / "table.csv")]
    command = [sys.executable, "-m", "infnet_runtime.cli", str(scan), "--model", str(model), "-o", str(out)]
    done = subprocess.run(
        [*command, *options], capture_output=True, env={**os.environ, "INFNET_CACHE": "off"}
    )
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"scan.report.html", "scan.montage.png", "scan.regions.csv", "table.csv"} < set(written)
    for name, content in {**written, "stdout": done.stdout, "stderr": done.stderr}.items():
        if name.endswith(".gz"):
            continue  # masks: tests/runtime/io
        assert PLANTED.lower().encode() not in content.lower(), name


def all_texts(result: Segmentation) -> list[str]:
    document = to_document(result, outputs={})
    return [
        re.sub('base64,[^"]+', "", report_html(result)),  # which holds any short word by chance
        scan_table([scan_row(document)]),
        region_table(result.quantification),
        to_json(result, outputs={}),
        to_text(result, files=[]),
    ]


def test_dicom_headers_stay_in_the_scan(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="needs infnet[dicom]")
    import dicom_world as world
    from infnet_runtime.io.dicom import read_dicom

    phantom = chest_phantom()
    world.write(tmp_path / "series", world.slices(phantom))
    scan = read_dicom(tmp_path / "series")
    with load(model) as opened:
        result = opened.predict(scan.volume)
    assert result.quantification.both is not None
    fields = [str(value) for value in world.PATIENT.values() if len(str(value)) > 2]
    assert PLANTED.encode() not in montage_png(result)
    assert PLANTED not in report_html(result)
    for text in all_texts(result):
        for field in (PLANTED, *fields):
            assert field.lower() not in text.lower()


def test_a_buffer_of_a_host_has_its_page(model: Path) -> None:
    phantom = chest_phantom()
    with load(model) as opened:
        grid = Grid.from_spacing(phantom.hu.shape, phantom.spacing_mm, "SPL")
        result = opened.predict_buffer(np.ascontiguousarray(phantom.hu), grid)
    page = report_html(result)
    assert "not known: not from a file" in page
    assert result.quantification.both is not None
    assert f"{result.quantification.both.infection_ml:.1f} ml" in page
