"""The scripts that check and time a GPU, in a tiny form on the CPU, and without what a GPU host lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builders import chest_phantom, write_nifti
from infnet_export.make.from_network import WeightStorage, start_from_network
from tiny_models import mid_grey_detector
from twin import CARD, random_network, write_weights

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "gpu"
ABSENT = ("cc3d", "nibabel", "isal")
PARTS = """
import argparse, sys, time
sys.path.insert(0, {folder!r})
from parts import run_script

def wait(options):
    print("waiting", flush=True)
    time.sleep(60)

def fail(options):
    raise SystemExit("on purpose")

parts = {{"wait": wait, "fail": fail, "work": lambda options: {{"summary": "well"}}}}
sys.exit(run_script("trial", parts, dict.fromkeys(parts, 5), argparse.ArgumentParser(), sys.argv[1:]))
"""


def run(script: Path, *arguments: object, path: tuple[Path, ...] = (), code: int = 0) -> str:
    packages = (*path, *(SCRIPTS.parents[1] / folder for folder in ("runtime", "train", "export")))
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, packages)), "OMP_NUM_THREADS": "1", "INFNET_THREADS": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A folder before all others in which these packages cannot be imported."""
    folder = tmp_path / "absent"
    folder.mkdir()
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r}, name={name!r})")
    return folder


def parts_of(file: Path, script: str) -> dict[str, Any]:
    document = json.loads(file.read_text())
    assert document["schema"] == "infnet.gpu/1"
    assert document[script]["machine"]["versions"]["numpy"]
    parts: dict[str, Any] = document[script]["parts"]
    return parts


def test_one_part_that_fails_or_hangs_stops_no_other(tmp_path: Path) -> None:
    script = tmp_path / "trial.py"
    script.write_text(PARTS.format(folder=str(SCRIPTS)))
    results = tmp_path / "gpu.json"
    given = ("--json", results, "--work", tmp_path / "work", "--device", "cpu")
    said = run(script, *given, code=1)
    lines = said.splitlines()
    assert lines[0].endswith("FAILED: took more than 5 s; waiting")
    assert lines[1].endswith("FAILED: exit code 1; on purpose")
    assert lines[2].endswith("well")
    assert lines[3] == str(results)
    parts = parts_of(results, "trial")
    assert [("failed" in part) for part in parts.values()] == [True, True, False]
    assert parts["wait"]["took_s"] < 30

    run(script, *given, "--only", "work", "--minutes", 0, code=1)
    parts = parts_of(results, "trial")
    assert parts["work"]["failed"] == "no time was left"
    assert parts["fail"]["said"] == "on purpose", "what another call found stays"


@pytest.mark.slow
def test_check_in_a_tiny_form(tmp_path: Path, without: Path) -> None:
    model = mid_grey_detector(tmp_path / "infnet.onnx")
    phantom = chest_phantom((12, 96, 96), (10.0, 4.0, 4.0))
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom.hu, phantom.affine)
    packed = tmp_path / "slices.npz"
    said = run(SCRIPTS / "check.py", "--pack", packed, "--model", model, scan)
    assert "8 slices" in said
    results = tmp_path / "gpu.json"
    given = ("--model", model, "--slices", packed, "--json", results, "--device", "cpu")
    given = (*given, "--work", tmp_path / "work")
    run(SCRIPTS / "check.py", *given, path=(without,))
    parts = parts_of(results, "check")
    assert list(parts) == ["tests", "fp32", "fp16", "rtx", "trt", "verify-fp32", "verify-fp16"]
    assert parts["fp32"]["parity"]["slices"] == 8
    assert parts["fp32"]["parity"]["largest_distance"] < 1e-6
    assert parts["fp16"]["masks"]["sizes"][0] > 0
    assert parts["fp16"]["farthest"].startswith("scan.nii.gz, slice")
    assert "bring the wheels" in parts["verify-fp32"]["left_out"]
    assert parts["rtx"]["left_out"].startswith("no GPU")
    assert (tmp_path / "work" / "infnet.fp16.onnx").is_file()

    run(SCRIPTS / "check.py", *given, "--scans", scan, "--only", "verify-fp32")
    document = parts_of(results, "check")["verify-fp32"]
    assert document["passed"] is True
    assert document["scans"][0]["name"] == "scan.nii.gz"


@pytest.mark.slow
def test_a_wrong_form_fails_its_part_alone(tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "infnet.onnx")
    (tmp_path / "work").mkdir()
    mid_grey_detector(tmp_path / "work" / "infnet.fp16.onnx", scale=0.65, gain=10.0)
    results = tmp_path / "gpu.json"
    given = ("--model", model, "--json", results, "--device", "cpu", "--work", tmp_path / "work")
    run(SCRIPTS / "check.py", *given, "--only", "fp16", "--only", "fp32", code=1)
    parts = parts_of(results, "check")
    assert "the infection moves from" in parts["fp16"]["said"]
    assert "failed" not in parts["fp32"]


@pytest.mark.slow
def test_speed_in_a_tiny_form(tmp_path: Path) -> None:
    trained = random_network()
    weights = write_weights(trained, tmp_path / "weights.safetensors")
    start, _ = start_from_network(trained, "infnet", CARD, WeightStorage.FP16)
    model = tmp_path / "infnet.onnx"
    model.write_bytes(start.content)
    results = tmp_path / "gpu.json"
    given = ("--model", model, "--weights", weights, "--json", results, "--device", "cpu")
    given = (*given, "--work", tmp_path / "work", "--batches", "1,2", "--turns", 1)
    wanted = [word for part in ("eager", "fp32", "fp16", "rtx", "path") for word in ("--only", part)]
    run(SCRIPTS / "speed.py", *given, "--phantoms", 1, "--shrink", 6, *wanted)
    parts = parts_of(results, "speed")
    assert parts["eager"]["backend"].startswith("torch")
    for name in ("eager", "fp32", "fp16"):
        times = parts[name]["ms_a_slice"]
        assert list(times) == ["1", "2"]
        assert all(0 < row["best"] <= row["median"] <= row["worst"] for row in times.values())
        assert parts[name]["peak_mib"] > 50
    (row,) = parts["path"]["scans"].values()
    assert row["slices"] > 0
    assert row["times_the_larger"] > 0
    assert set(row["seconds"]) == {"inflate", "network", "file to mask"}
