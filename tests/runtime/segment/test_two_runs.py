"""What happens to the files of a run when another runs beside it, or the disk is full."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from builders import chest_phantom, reorient, write_nifti
from tiny_models import mid_grey_detector

pytestmark = pytest.mark.slow  # several interpreters


COMMAND = "from infnet_runtime.cli.main import main; main()"
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    phantom = chest_phantom()
    mid_grey_detector(folder / "model.onnx")
    return write_nifti(folder / "scan.nii.gz", *reorient(phantom.hu, phantom.spacing_mm, "LAS"))


def start(scan: Path, out: Path, *, before: str = "") -> subprocess.Popen[str]:
    arguments = [str(scan), "--model", str(scan.with_name("model.onnx")), "--device", "cpu", "-o", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", before + COMMAND, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_runs_at_once_on_one_folder_leave_whole_files(scan: Path, tmp_path: Path) -> None:
    for run in [start(scan, tmp_path) for _ in range(2)]:
        _, messages = run.communicate(timeout=300)
        assert run.returncode == 0, messages
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.infection.nii.gz", "scan.infnet.json"]
    mask = np.asarray(nib.load(tmp_path / "scan.infection.nii.gz").dataobj)
    report = json.loads((tmp_path / "scan.infnet.json").read_text("utf-8"))
    assert mask.sum() > 0
    assert report["quantification"]["slices_with_infection"] == int(mask.any(axis=(0, 1)).sum())


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
@pytest.mark.parametrize("room", [0, 200])
def test_a_full_disk_is_exit_code_8_and_nothing_is_left(room: int, scan: Path, tmp_path: Path) -> None:
    run = start(scan, tmp_path, before=LIMITED.format(room))
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 8, messages
    assert "INF-8003" in messages
    assert list(tmp_path.iterdir()) == []
