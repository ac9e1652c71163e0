"""--csv: every scan of the call has its row, whatever comes of it, and no other table is lost."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders import chest_phantom, reorient, write_nifti
from infnet_runtime.cli.cohort import CohortTable
from infnet_runtime.cli.plan import plan_cases
from infnet_runtime.errors import OutputError
from infnet_runtime.report.tables import DONE, FAILED, NOT_DONE
from infnet_runtime.report.text_and_json import failure_document
from tiny_models import mid_grey_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


def scan(path: Path) -> Path:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "RAS")
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_nifti(path, stored, affine)


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "infnet_runtime.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_scan_has_a_row_and_one_that_failed_its_error(model: Path, tmp_path: Path) -> None:
    good = scan(tmp_path / "=in" / "b.nii.gz")
    bad = good.with_name("a.nii.gz")
    bad.write_bytes(good.read_bytes()[:2000])
    table = tmp_path / "new" / "table.csv"
    done = run(good.parent, "--model", model, "--csv", table, "--csv-regions", "--report", "-q")
    assert done.returncode == 6, done.stderr
    failed, fine = rows(table)
    assert (failed["status"], failed["file"]) == (FAILED, "a.nii.gz")
    assert failed["error_code"].startswith("INF-3")
    assert failed["error_code"][4:] in done.stderr
    assert (fine["status"], fine["file"], fine["path"]) == (DONE, "b.nii.gz", str(good))
    assert float(fine["infection_ml"]) > 0
    assert good.with_name("b.regions.csv").read_text("utf-8").startswith(",Both lungs,Left lung,")
    assert good.with_name("b.report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    again = run(good, "--model", model, "--csv", table, "-q")
    assert again.returncode == 8
    assert "INF-8082" in again.stderr
    assert "a.nii.gz" in again.stderr
    assert len(rows(table)) == 2


def test_what_was_not_reached_stands_there_too(tmp_path: Path) -> None:
    first, second = (scan(tmp_path / f"{name}.nii.gz") for name in "ab")
    plan = plan_cases([first, second], out=None, kinds=("mask",))
    table = tmp_path / "table.csv"
    cohort = CohortTable(table, plan.cases)
    assert [row["status"] for row in rows(table)] == [NOT_DONE, NOT_DONE]
    cohort.add(failure_document(first, code=3001, message="no"))
    cohort.write()
    assert [(row["status"], row["path"]) for row in rows(table)] == [
        (FAILED, str(first)),
        (NOT_DONE, str(second)),
    ]
    CohortTable(table, plan.cases)  # the same scans again: nothing is lost


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_table_is_whole_after_a_signal(model: Path, tmp_path: Path) -> None:
    scans = [scan(tmp_path / f"{k}.nii.gz") for k in range(12)]
    table = tmp_path / "table.csv"
    command = [
        sys.executable,
        "-m",
        "infnet_runtime.cli",
        *map(str, scans),
        "--model",
        str(model),
        "--csv",
        str(table),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first scan is done
        process.terminate()
        assert process.wait() == 143
    found = [row["status"] for row in rows(table)]
    assert len(found) == 12
    assert found[0] == DONE
    assert found[-1] == NOT_DONE


def refused(table: Path, *scans: Path) -> OutputError:
    plan = plan_cases(scans, out=None, kinds=("mask",))
    with pytest.raises(OutputError) as error:
        CohortTable(table, plan.cases)
    return error.value


def test_a_table_replaces_no_file_but_a_table_of_these_scans(tmp_path: Path) -> None:
    one = scan(tmp_path / "a.nii.gz")
    assert refused(one, one).code == 8080
    assert refused(tmp_path / "a.infection.nii.gz", one).code == 8080
    mine = tmp_path / "mine.csv"
    mine.write_text("name,ml\r\na,1\r\n")
    assert refused(mine, one).code == 8081
    assert mine.read_text().startswith("name,ml")
    (tmp_path / "folder.csv").mkdir()
    assert refused(tmp_path / "folder.csv", one).code == 8081
    table = tmp_path / "table.csv"
    CohortTable(table, plan_cases([scan(tmp_path / "b.nii.gz")], out=None, kinds=("mask",)).cases)
    error = refused(table, one)
    assert error.code == 8082
    assert "b.nii.gz" in str(error)


def test_two_series_of_one_folder_have_a_row_each(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="needs infnet[dicom]")
    import dicom_world as world

    soft, hard = (
        world.slices(chest_phantom(), kernel="B31f"),
        world.slices(chest_phantom(), series="hard", kernel="B70f"),
    )
    world.write(tmp_path / "in", [*soft, *hard])
    uids = [str(one[0].SeriesInstanceUID) for one in (soft, hard)]
    table = tmp_path / "table.csv"
    series = [word for uid in uids for word in ("--series", uid)]
    done = run(tmp_path / "in", *series, "--model", model, "--csv", table, "-o", tmp_path / "out", "-q")
    assert done.returncode == 0, done.stderr
    found = rows(table)
    assert sorted(row["series"] for row in found) == sorted(uids)
    assert {row["status"] for row in found} == {DONE}
    assert {row["path"] for row in found} == {str(tmp_path / "in")}
    one = run(tmp_path / "in", *series[:2], "--model", model, "--csv", table, "-o", tmp_path / "new", "-q")
    assert one.returncode == 8
    assert f"INF-8082] {table} is there already and holds scans" in one.stderr
    assert uids[1] in one.stderr
    assert world.PLANTED not in table.read_text("utf-8")
