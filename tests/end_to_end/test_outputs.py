"""Every output is whole or not there: full and read-only disks, long names, names in other scripts."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dicom_world
from builders import chest_phantom, reorient, write_nifti
from small_disk import can_mount, on_disks
from tiny_models import classes_detector
from whole_files import trouble

pytestmark = pytest.mark.slow

# What is asked for, and the endings of what is written for it.
OUTPUTS = {
    "--lungs-out": ".lungs.nii.gz",
    "--probability-out": ".probability.nii.gz",
    "--montage": ".montage.png",
    "--classes": ".classes.nii.gz",
    "--report": ".report.html",
    "--csv-regions": ".regions.csv",
}
ALWAYS = {".infection.nii.gz", ".infnet.json"}
LONGEST = 255  # bytes of a name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes_detector(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "RAS")
    return write_nifti(tmp_path_factory.mktemp("scans") / "scan.nii.gz", stored, affine).read_bytes()


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a DICOM series."""
    folder = tmp_path_factory.mktemp("dicom") / "series"
    dicom_world.write(folder, dicom_world.slices(chest_phantom()))
    return folder


@pytest.fixture
def scan(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(content)
    return path


def test_what_does_not_fit_onto_a_disk_is_whole_or_not_there(scan: Path, model: Path, tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("this system lets a test mount no disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = [str(scan), "--model", str(model), "--out", str(disk / "out"), *OUTPUTS]
    arguments += ["--csv", str(disk / "table.csv")]
    sizes = ["8k", "16k", "32k", "64k", "128k", "256k", "4m"]
    *full, enough, read_only = on_disks(disk, arguments, [*sizes, "ro"])
    for one in (*full, enough, read_only):
        assert [fault for fault in one["files"].values() if fault] == []
    assert {(one["code"], "error[INF-8003]" in one["err"]) for one in full} == {(8, True)}
    assert all("free some space or choose another disk" in one["err"] for one in full)
    assert len({frozenset(one["files"]) for one in full}) > 1  # the disks became full in different places
    assert enough["code"] == 0
    written = {f"scan{ending}" for ending in ALWAYS | set(OUTPUTS.values())} | {"table.csv"}
    assert set(enough["files"]) == written
    assert read_only["code"] == 8
    assert "error[INF-8004]" in read_only["err"]
    assert read_only["files"] == {}


def test_dicom_that_does_not_fit_onto_a_disk_is_whole_or_not_there(
    series: Path, model: Path, tmp_path: Path
) -> None:
    if not can_mount():
        pytest.skip("this system lets a test mount no disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = [str(series), "--model", str(model), "--out", str(disk), "--dicom-out"]
    *full, enough, read_only = on_disks(disk, arguments, ["8k", "32k", "64k", "4m", "ro"])
    for one in (*full, enough, read_only):
        assert [fault for fault in one["files"].values() if fault] == []
    assert {(one["code"], "error[INF-8003]" in one["err"]) for one in full} == {(8, True)}
    assert enough["code"] == 0
    assert sorted(name.rsplit(".", 2)[-2:] for name in enough["files"] if name.endswith(".dcm")) == [
        ["seg", "dcm"],
        ["sr", "dcm"],
    ]
    assert (read_only["code"], read_only["files"]) == (8, {})


def infer(folder: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """The command in a folder; its output as bytes, as names may be no text."""
    command = [sys.executable, "-m", "infnet_runtime.cli", *map(os.fsencode, arguments)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=folder, capture_output=True, env=environment)


NAMES = (
    "Ωμέγα 肺炎 ñ 🫁 עברית",
    "=cmd|' C calc'!A0 <script>alert(1)<\u2215script> \"quoted\" & ;,$HOME `id` %s {0}",
    "two\nlines\tand a tab\x1b[31m",
    os.fsdecode(b"caf\xe9 \xff"),
    "e\u0301 and an e",
    "v1.2.3..",
    "n" * (LONGEST - len(".probability.nii.gz")),
)


def test_names_of_any_kind_give_whole_outputs(content: bytes, model: Path, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
    table = tmp_path / "table" / "all.csv"
    done = infer(tmp_path, tmp_path, "--model", model, *OUTPUTS, "--csv", table)
    assert done.returncode == 0, done.stderr
    written = {path.name: trouble(path) for path in tmp_path.iterdir() if path.is_file()}
    endings = {".nii.gz", *ALWAYS, *OUTPUTS.values()}
    assert written == {f"{name}{ending}": "" for name in NAMES for ending in endings}
    assert trouble(table) == ""
    assert len(list(csv.reader(table.read_text("utf-8-sig").splitlines(keepends=True)))) == 1 + len(NAMES)
    for path in (table, *tmp_path.glob("*.csv")):
        rows = csv.reader(path.read_text("utf-8-sig").splitlines(keepends=True))
        cells = [cell for row in rows for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]  # no formula of a spreadsheet
    assert b"\x1b" not in done.stdout + done.stderr  # nothing in a name acts on a terminal


def test_a_name_that_leaves_no_room_is_refused_before_the_work(
    content: bytes, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"{'n' * (LONGEST - len('.nii.gz'))}.nii.gz"
    path.write_bytes(content)
    done = infer(tmp_path, path, "--model", model, *OUTPUTS)
    assert done.returncode == 8
    assert b"error[INF-8006]" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_is_ended_leaves_whole_files(scan: Path, model: Path) -> None:
    """Wherever it is when it is told to end."""
    command = [sys.executable, "-m", "infnet_runtime.cli", str(scan), "--model", str(model), *OUTPUTS]
    for _ in range(3):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and not list(scan.parent.glob("scan.*.nii.gz")):
            pass
        running.send_signal(signal.SIGTERM)
        running.wait()
        assert [trouble(path) for path in scan.parent.iterdir() if trouble(path)] == []
