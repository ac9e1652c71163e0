"""The stopwatch for the user's own machine."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from builders import chest_phantom, write_nifti
from infnet_runtime.backends.candidates import preferred
from infnet_runtime.cli.main import app
from infnet_runtime.errors import BackendError
from infnet_runtime.machine import bench as bench_module
from infnet_runtime.machine.bench import BenchReport, Contender, bench
from tiny_models import mid_grey_detector


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    phantom = chest_phantom()
    return write_nifti(tmp_path / "scan.nii.gz", phantom.hu, phantom.affine)


def contender(*runs: dict[str, float]) -> Contender:
    return Contender(
        backend="b 1",
        precision="float32",
        device="cpu",
        model="m.onnx",
        model_sha256="0",
        outputs="infection_probability (infection)",
        load_s=0.1,
        slices=10,
        runs=list(runs),
    )


def test_arithmetic() -> None:
    one = contender(
        {"read": 1.0, "network": 4.0}, {"read": 0.5, "network": 3.5}, {"read": 1.5, "network": 3.0}
    )
    assert one.best == {"read": 0.5, "network": 3.5}
    assert one.network_ms_per_slice == pytest.approx(300)
    assert one.slices_per_s == pytest.approx(2.5)
    assert one.spread_percent == pytest.approx(25)
    report = BenchReport(
        machine={"cores": "2 cores"},
        scan="s",
        shape=(1, 2, 3),
        contenders=(one, contender({"read": 1.0, "network": 2.0})),
        passed_over={"openvino on cpu": "why"},
    )
    table = {line[:18].strip(): line[18:].split() for line in report.to_text().splitlines()}
    assert table["network"] == ["3.500", "2.000"]
    assert table["all"] == ["4.000", "3.000"]
    assert table["slowest run"] == ["+25", "%", "+0", "%"]
    assert report.to_text().splitlines()[-1] == "not run: openvino on cpu: why"


def test_backends_take_turns(model: Path, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    order: list[str] = []
    real = bench_module._run

    def noted(contender: Contender, *rest: object) -> dict[str, float]:
        order.append(contender.backend.split()[0])
        return real(contender, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bench_module, "_run", noted)
    told: list[tuple[int, int]] = []
    report = bench(
        model, scan, device="cpu", repeats=2, progress=lambda done, todo: told.append((done, todo))
    )
    assert order == [name for name, kind in preferred() if kind == "cpu"] * 3
    assert told == [(i, 6) for i in range(1, 7)]
    document = json.loads(report.to_json())
    assert document["schema"] == "infnet.bench/1"
    for row in document["contenders"]:
        assert len(row["runs"]) == 2, "the first is left out"
        assert row["slices"] > 0
        assert {"read", "lungs", "network", "write"} <= set(row["runs"][0])
        assert row["total_s"] > 0


def test_a_backend_that_does_not_work_is_named(model: Path, scan: Path) -> None:
    report = bench(model, scan, backend="onnxruntime", repeats=1)
    if len(report.contenders) == 1:  # no GPU
        assert list(report.passed_over) == ["onnxruntime on cuda:0"]
    with pytest.raises(BackendError):
        bench(model, scan, backend="onnxruntime", device="cuda:99")


def test_command(model: Path, scan: Path) -> None:
    given = ["bench", str(model), "--scan", str(scan), "--device", "cpu", "--backend", "onnxruntime"]
    done = CliRunner().invoke(app, [*given, "--repeats", "1"])
    assert done.exit_code == 0, done.output
    assert "ms/slice, network" in done.output
    done = CliRunner().invoke(app, [*given, "--repeats", "1", "--json"])
    assert json.loads(done.stdout)["contenders"][0]["device"] == "cpu"
