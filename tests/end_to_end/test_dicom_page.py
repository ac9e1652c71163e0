"""``docs/dicom.md``: its listing runs, its tables are those of the code, and the patient stays in DICOM."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.sr.coding import Code

import dicom_world
from dicom_tools import complaints
from docs_world import ROOT, TINY, listings, run
from infnet_runtime.report.dicom import codes
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import mid_grey_detector

PAGE = ROOT / "docs" / "dicom.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dicom_world.write(tmp_path / "CT", dicom_world.slices(chest_phantom()))
    mid_grey_detector(tmp_path / TINY)
    return tmp_path


@pytest.mark.slow
def test_the_listing_runs_as_printed(folder: Path) -> None:
    (listing,) = listings(PAGE, "python")
    (folder / "listing.py").write_text(listing.replace("load()", f"load({TINY!r})"), "utf-8")
    done = subprocess.run(
        [sys.executable, "listing.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("out.seg.dcm", "out.sr.dcm"):
        assert complaints(folder / name) == []


@pytest.mark.slow
def test_nothing_of_the_patient_leaves_dicom(folder: Path) -> None:
    done = run(
        "infnet-infer CT --dicom-out --report --montage --lungs-out --probability-out --csv table.csv "
        "--csv-regions -o out --json -v",
        folder,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"seg", "sr", "mask", "report"} <= document["outputs"].keys()
    written = [path for path in (*(folder / "out").rglob("*"), folder / "table.csv") if path.is_file()]
    assert len(written) > 8
    planted = re.compile(dicom_world.PLANTED.encode() + b"|19310507")
    assert not planted.search((done.stdout + done.stderr).encode())
    for path in written:
        assert not planted.search(path.name.encode())
        assert bool(planted.search(path.read_bytes())) == (path.suffix == ".dcm"), path.name


def test_the_table_of_codes_is_that_of_the_code() -> None:
    page = PAGE.read_text("utf-8")
    table = page[page.index("## Codes") : page.index("## Patient")]
    used = {value for value in vars(codes).values() if isinstance(value, Code)}
    told = {
        code
        for code in used
        if re.search(rf"(?<![\w-]){re.escape(code.value)}(?![\w-])", table)
        and code.scheme_designator in table
    }
    of_every_report = {codes.COMMENT, codes.DEVICE, codes.MEASUREMENT_REPORT, codes.ARTIFICIAL_INTELLIGENCE}
    assert used - told == of_every_report


def test_every_refusal_is_there() -> None:
    page, errors = PAGE.read_text("utf-8"), (ROOT / "docs/errors.md").read_text("utf-8")
    assert set(re.findall(r"^\| INF-(\d+)", page, re.M)) == set(
        re.findall(r"^\| (80[567]\d) \|", errors, re.M)
    )
