"""The file of the lung network against PyTorch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.graph.onnx_file import read_onnx as read_onnx_file
from infnet_export.network.lung_file import lung_model
from infnet_runtime.errors import ModelError
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY, LungManifest, LungSpec
from infnet_train.networks.lung_net import LungNet, LungProbabilities
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint

LARGEST_FILE = 4_000_000
# Large weights are rounded to half precision. Measured on random weights: 3e-4.
LARGEST_DIFFERENCE = 3e-3


@pytest.fixture(scope="module")
def network() -> LungNet:
    torch.manual_seed(0)
    return LungNet().eval()


def written(network: LungNet, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    tensors = {f"weights/{name}": tensor for name, tensor in network.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {}))
    return path


@pytest.mark.slow
def test_the_file_gives_what_pytorch_gives(network: LungNet, tmp_path: Path) -> None:
    content = model_bytes(lung_model(written(network, tmp_path), licence="none"))
    assert len(content) < LARGEST_FILE
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    manifest = LungManifest.from_json(
        session.get_modelmeta().custom_metadata_map[LUNG_METADATA_KEY], "lungs.onnx"
    )
    assert manifest.spec == LungSpec()
    assert manifest.licence == "none"
    planes = np.random.default_rng(0).random((3, 3, 160, 160), np.float32)
    (found,) = session.run(["lungs"], {"slices": planes})
    with torch.no_grad():
        expected = LungProbabilities(network)(torch.from_numpy(planes)).numpy()
    assert found.shape == expected.shape == (3, 2, 160, 160)
    assert np.abs(found - expected).max() < LARGEST_DIFFERENCE


def test_weights_that_are_not_finite_are_refused(network: LungNet, tmp_path: Path) -> None:
    broken = LungNet()
    broken.load_state_dict(network.state_dict())
    with torch.no_grad():
        broken.head.bias[0] = torch.nan  # type: ignore[index]
    with pytest.raises(ModelError, match=r"not finite in 1 entries, e\.g\. head\.bias"):
        lung_model(written(broken, tmp_path))


@pytest.mark.slow
def test_the_command_writes_the_file(network: LungNet, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"dice": 0.98}')
    options = ["--licence", "none", "--metrics", str(tmp_path / "m.json"), "-o", str(tmp_path / "a.onnx")]
    done = CliRunner().invoke(app, ["lungs", str(written(network, tmp_path)), *options])
    assert done.exit_code == 0, done.output
    model, _ = read_onnx_file(tmp_path / "a.onnx")
    manifest = LungManifest.from_json(
        {p.key: p.value for p in model.metadata_props}[LUNG_METADATA_KEY], "a.onnx"
    )
    assert manifest.metrics == {"dice": 0.98}
