"""The doctor: a verdict with an exit code, also where nothing but the base is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.io.nifti import scan as nifti_scan
from infnet_runtime.machine import doctor
from infnet_runtime.machine.doctor import Diagnosis, State, examine
from tiny_models import mid_grey_detector

BASE_ONLY = """
import importlib.abc, importlib.util, sys
HIDDEN = {hidden!r}
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.split(".")[0] in HIDDEN else real(name, *a)

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
EXTRAS = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "isal")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


def part(diagnosis: Diagnosis, name: str) -> doctor.Finding:
    return next(f for f in diagnosis.findings if f.part == name)


def run(*arguments: object, hidden: tuple[str, ...] = (), folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "sitecustomize.py").write_text(BASE_ONLY.format(hidden=hidden))
    command = [sys.executable, "-m", "infnet_runtime.cli", "doctor", *map(str, arguments)]
    places = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places})


def test_all_parts(model: Path) -> None:
    diagnosis = examine(model=model)
    assert diagnosis.works
    assert part(diagnosis, "numpy").state is State.OK
    assert "cores" in part(diagnosis, "processor").found
    trial = part(diagnosis, "trial default")
    assert trial.state is State.OK
    assert "model mid-grey 1" in trial.found
    assert trial.found.endswith("probabilities 0.000 to 1.000, gives infection_probability (infection)")
    choice = part(diagnosis, "choice").found
    assert choice.startswith(
        f"device auto: cpu; backend auto: {trial.found.split(' on ')[0]}; model model.onnx"
    )
    assert choice.split("; ")[-1].startswith("in the order onnxruntime on cuda, ")
    whole = part(diagnosis, "trial file to mask")
    assert whole.state is State.OK
    assert whole.found.startswith("4 slices of a packed phantom, read, segmented, written and read back in")
    for finding in diagnosis.findings:
        assert finding.state is State.OK or finding.advice, f"{finding.part}: no way out"


def test_json_and_exit_code(model: Path, tmp_path: Path) -> None:
    done = run("--json", "--model", model, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["works"]) == ("infnet.doctor/1", True)
    assert {"part", "state", "found", "advice"} == set(document["findings"][0])


def test_with_nothing_but_the_base(tmp_path: Path) -> None:
    done = run(hidden=EXTRAS, folder=tmp_path)
    assert done.returncode == 5, done.stderr
    assert done.stderr == ""
    words = " ".join(done.stdout.split())
    assert "and on CUDA -> pip install 'infnet[onnxruntime]', or 'infnet[gpu]' for NVIDIA" in words
    assert "broken trial default [INF-5031] nothing is installed that runs a model: pip install" in words
    assert words.count("not installed; the first choice on this processor") == 1
    assert words.count("not installed; another backend for the CPU") == 1
    for name in ("openvino", "tensorrt", "pycuda", "isal"):
        assert f"absent {name} not installed" in words
    assert "pydicom" not in words  # nothing would use it yet
    assert done.stdout.splitlines()[-1] == "infnet does not work here, see 'broken' above"


@pytest.mark.parametrize(
    ("module", "distribution"),
    [("cc3d", "connected-components-3d"), ("nibabel", "nibabel"), ("cv2", "opencv-python-headless")],
)
def test_a_base_package_that_cannot_be_loaded(module: str, distribution: str, tmp_path: Path) -> None:
    done = run(hidden=(module,), folder=tmp_path)
    assert done.returncode == 5
    words = " ".join(done.stdout.split())
    assert f"broken {distribution} cannot be loaded: No module named '{module}'" in words
    assert f"pip install --force-reinstall {distribution}" in done.stdout


def test_without_isal_it_works_and_says_that_it_is_slower(model: Path, tmp_path: Path) -> None:
    done = run("--model", model, hidden=("isal",), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    words = " ".join(done.stdout.split())
    assert "absent isal not installed; without it .nii.gz takes twice the time -> pip install isal" in words
    assert "ok trial file to mask 4 slices of a packed phantom" in words
    assert done.stdout.endswith("infnet works here\n")


def test_a_path_that_breaks_behind_the_network_is_found(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network alone works; the mask cannot be written, or is written as something else."""
    write = nifti_scan.write_labels

    def missing(*_: object) -> None:
        raise ImportError("no module for that")

    def emptied(path: Path, labels: np.ndarray, header: bytes, byte_order: str) -> None:
        write(path, 0 * labels, header, byte_order)

    for fault, told in (
        (missing, "ImportError: no module for that"),
        (emptied, "RuntimeError: the mask that was written is not the mask"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(nifti_scan, "write_labels", fault)
            diagnosis = examine(model=model)
        assert not diagnosis.works
        assert part(diagnosis, "trial default").state is State.OK
        assert part(diagnosis, "trial file to mask").state is State.BROKEN
        assert part(diagnosis, "trial file to mask").found.startswith(told)


def test_a_model_that_gives_no_probabilities(tmp_path: Path) -> None:
    broken = mid_grey_detector(tmp_path / "nan.onnx", scale=float("nan"))
    diagnosis = examine(model=broken)
    assert not diagnosis.works
    assert part(diagnosis, "trial default").found.startswith("[INF-7020]")
    assert part(diagnosis, "trial default").advice == "see 7020 in docs/errors.md"


def test_two_wheels_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda distribution: "1.31.1")
    finding = doctor._onnxruntime()
    assert finding.state is State.BROKEN
    assert finding.found.endswith("are installed over each other")
    assert finding.advice.startswith("pip uninstall onnxruntime onnxruntime-gpu")


def test_where_compiled_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from infnet_runtime.backends.compiled import CompiledModels

    CompiledModels(tmp_path / "cache").keep("key", bytes(3 * 2**20))
    for value, state, told in (
        (
            str(tmp_path / "cache"),
            State.OK,
            f"{tmp_path / 'cache'}: 1 files, 3 MiB; the folder may be removed",
        ),
        ("off", State.ABSENT, "not kept: INFNET_CACHE is off"),
        (str(tmp_path / "model.onnx" / "below"), State.ABSENT, "not kept: "),
    ):
        mid_grey_detector(tmp_path / "model.onnx")
        monkeypatch.setenv("INFNET_CACHE", value)
        (finding,) = doctor._compiled()
        assert finding.state is state
        assert finding.found.startswith(told)
        assert state is State.OK or finding.advice
