"""The command ``infnet-export`` from checkpoint to file."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from infnet_export import model_file
from infnet_export.cli import app
from infnet_export.half_weights import with_half_weights
from infnet_export.model_file import ModelCard, export_model
from infnet_export.onnx_graph import model_bytes
from infnet_export.parity import FP16_TOLERANCE, phantom_input
from infnet_export.trained import TrainedNetwork, read_trained
from infnet_runtime.backends import open_session
from infnet_runtime.errors import GateError, InfnetError
from infnet_runtime.manifest import OutputSpec

from .conftest import CARD

COMMAND = [sys.executable, "-W", "error::UserWarning", "-m", "infnet_export.cli"]
CARD_OPTIONS = [
    *("--name", CARD.name, "--model-version", CARD.version, "--licence", CARD.licence),
    *("--training-data", CARD.training_data, "--threshold", str(CARD.threshold)),
]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_export_in_another_process_gives_the_same_bytes(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path
) -> None:
    output = tmp_path / "model.onnx"
    done = run(checkpoint, "-o", output, *CARD_OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    expected, half = with_half_weights(fp32_model)
    content = output.read_bytes()
    assert hashlib.sha256(content).digest() == hashlib.sha256(model_bytes(expected)).digest()

    report = json.loads(done.stdout)
    assert report["path"] == str(output)
    assert report["bytes"] == len(content)
    assert report["sha256"] == hashlib.sha256(content).hexdigest()
    assert report["operators"]["Conv"] == 157
    assert report["half"]["weights"] == half.weights
    assert report["manifest"]["name"] == "twin"
    assert report["parity"]["slices"] == 4
    assert 0 < report["parity"]["mean_distance"] <= FP16_TOLERANCE.mean


def test_failed_gate_leaves_no_file(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of other weights stands for an export that went wrong."""
    trained = read_trained(checkpoint)
    with torch.no_grad():
        trained.network.reverse_attention3.out.bn.bias.add_(0.5)
    monkeypatch.setattr(model_file, "onnx_model", lambda *_: fp32_model)
    with pytest.raises(GateError, match="no file was written"):
        export_model(trained, tmp_path / "model.onnx", ModelCard())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model.onnx").write_bytes(b"the one from before")
    with pytest.raises(GateError):
        export_model(trained, tmp_path / "model.onnx", ModelCard())
    assert (tmp_path / "model.onnx").read_bytes() == b"the one from before"


def test_path_on_stdout_and_summary_on_stderr(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "onnx_model", lambda *_: fp32_model)
    done = CliRunner().invoke(app, [str(checkpoint), "-o", str(tmp_path / "m.onnx"), "--weights", "fp32"])
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path / 'm.onnx'}\n"
    assert "371 operators; on 4 slices probabilities differ from the network by" in done.stderr


def test_the_temperature_travels_in_the_file(
    checkpoint: Path, trained: TrainedNetwork, tmp_path: Path
) -> None:
    """And changes nothing else: the graph gives the network's own probability."""
    paths = [tmp_path / "plain.onnx", tmp_path / "calibrated.onnx"]
    for path, options in zip(paths, ([], ["--temperature", "1.7"]), strict=True):
        done = CliRunner().invoke(app, [str(checkpoint), "-o", str(path), "--weights", "fp32", *options])
        assert done.exit_code == 0, done.exception
    with open_session(paths[0], device="cpu") as plain, open_session(paths[1], device="cpu") as calibrated:
        assert plain.manifest.output == OutputSpec()
        assert calibrated.manifest.output == OutputSpec(temperature=1.7)
        batch = phantom_input(trained.preprocess)
        assert np.array_equal(plain.run(batch), calibrated.run(batch))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["none.pth", "-o", "m.onnx"], 4, "[INF-4001] no weight file at none.pth"),
        (["CHECKPOINT", "-o", "none/m.onnx"], 8, "[INF-8001] cannot write none/m.onnx"),
        (["CHECKPOINT", "-o", "m.onnx", "--threshold", "1.5"], 4, "[INF-4023] threshold is 1.5"),
        (["CHECKPOINT", "-o", "m.onnx", "--temperature", "0"], 4, "[INF-4023] temperature is 0.0"),
        (["CHECKPOINT", "-o", "m.onnx", "--temperature", "nan"], 4, "[INF-4023] temperature is nan"),
        (["CHECKPOINT", "-o", "m.onnx", "--verify", "none"], 3, "[INF-3001] there is no file none"),
    ],
)
def test_refusals(
    checkpoint: Path,
    arguments: list[str],
    exit_code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [str(checkpoint) if a == "CHECKPOINT" else a for a in arguments])
    assert isinstance(done.exception, InfnetError)
    assert done.exception.exit_code == exit_code
    assert str(done.exception).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path / "none.safetensors", "-o", tmp_path / "m.onnx")
    assert done.returncode == 4
    assert done.stderr == f"error[INF-4001] no checkpoint at {tmp_path / 'none.safetensors'}\n"
    assert done.stdout == ""


def test_unknown_precision_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["c.safetensors", "-o", "m.onnx", "--weights", "int8"])
    assert done.exit_code == 2
    assert "Invalid value for '--weights'" in done.stderr


def test_help_does_not_load_torch() -> None:
    code = "import sys; import infnet_export.cli; print('torch' in sys.modules, 'onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
