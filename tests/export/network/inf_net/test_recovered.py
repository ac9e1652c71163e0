"""An exported file read back into weights: the same prediction, and a training mode that goes on from it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.network.exportable import TrainedNetwork, read_trained
from infnet_export.network.inf_net.exporter import INF_NET
from infnet_export.network.inf_net.normalisations import FRESH
from infnet_export.network.inf_net.recovered import recover_weights, write_recovered
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.errors import ModelError
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNet
from infnet_train.weights.checkpoint import read_checkpoint
from train_slices import write_slice

# Both sides in double precision with FP32 weights; what differs is the rounding of the merged kernels to
# FP32 and back. Measured 2e-6 here; the shipped model (FP16 storage, ONNX Runtime) 4.6e-6.
SAME = 2e-5
# FP16 storage of random weights, against the file that stores them so.
SAME_HALF = 2e-5


@pytest.fixture(scope="session")
def exported(fp32_model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "twin.onnx"
    path.write_bytes(model_bytes(fp32_model))
    return path


@pytest.fixture(scope="session")
def slices(trained: TrainedNetwork) -> np.ndarray:
    return phantom_input(trained.preprocess)


def infection(network: InfNet, slices: np.ndarray) -> np.ndarray:
    (probabilities,) = network_probabilities(network, INF_NET, slices).values()
    return probabilities


def test_the_prediction_is_that_of_the_network(
    exported: Path, trained: TrainedNetwork, slices: np.ndarray
) -> None:
    wanted = infection(trained.network, slices)
    for measured in (None, slices):
        found = infection(recover_weights(exported, measured).network, slices)
        np.testing.assert_allclose(found, wanted, atol=SAME)


def test_every_map_but_the_edge_comes_back(
    exported: Path, trained: TrainedNetwork, slices: np.ndarray
) -> None:
    batch = torch.from_numpy(slices)
    with torch.no_grad():
        wanted, found = (n(batch) for n in (trained.network, recover_weights(exported, slices).network))
    for name in ("s5", "s4", "s3"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-3, atol=1e-3)
    inner = (..., slice(32, -32), slice(32, -32))  # the zeros beyond the border are another matter
    torch.testing.assert_close(found.global_map[inner], wanted.global_map[inner], rtol=1e-3, atol=1e-3)
    assert FRESH == ("edge_attention.conv4",)
    assert (found.edge - wanted.edge).abs().max() > 1e-3


def test_the_statistics_are_those_of_the_slices(exported: Path, slices: np.ndarray) -> None:
    """In training mode the same slices give the same prediction; with statistics 0 and 1 they would not."""
    batch = torch.from_numpy(slices[:4])

    def jump(network: torch.nn.Module) -> float:
        with torch.no_grad():
            before = torch.sigmoid(network.eval()(batch).s3)
            return float((torch.sigmoid(network.train()(batch).s3) - before).abs().max())

    # The variance of a batch is that of the sum, up to its n - 1.
    assert jump(recover_weights(exported, slices[:4]).network) < 5e-3
    assert jump(recover_weights(exported).network) > 5e-3


def test_kernels_have_the_scale_of_fresh_ones(exported: Path, slices: np.ndarray) -> None:
    network = recover_weights(exported, slices).network
    kernel = network.backbone.layer2[1].convs[0].weight
    wanted = (2 / (kernel.shape[0] * 9)) ** 0.5
    np.testing.assert_allclose(kernel.square().mean(dim=(1, 2, 3)).sqrt().detach(), wanted, rtol=1e-4)


def test_weights_stored_in_half_precision(
    fp32_model: onnx.ModelProto, trained: TrainedNetwork, slices: np.ndarray, tmp_path: Path
) -> None:
    half, _ = with_half_weights(fp32_model)
    path = tmp_path / "half.onnx"
    path.write_bytes(model_bytes(half))
    found = infection(recover_weights(path).network, slices[:2])
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, {"slices": slices[:2]})[0], atol=SAME_HALF)


def test_the_checkpoint_can_be_exported_again(exported: Path, tmp_path: Path) -> None:
    recovered = recover_weights(exported)
    path = tmp_path / "weights.safetensors"
    write_recovered(path, recovered, exported)
    again = read_trained(path)
    assert again.preprocess == recovered.manifest.preprocess
    state = read_checkpoint(path).state["recovered"]
    assert (state["from"], state["slices"]) == ("twin.onnx", 0)


def test_other_files_are_refused(fp32_model: onnx.ModelProto, tmp_path: Path) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(fp32_model)
    kernel = next(t for t in changed.graph.initializer if t.name == "rfb3.conv_cat.conv.weight")
    kernel.CopyFrom(numpy_helper.from_array(np.zeros((32, 64, 3, 3), np.float32), kernel.name))
    path = tmp_path / "other.onnx"
    path.write_bytes(model_bytes(changed))
    with pytest.raises(
        ModelError, match=r"lacks a weight of Inf-Net, or has one of another shape: .*32, 64, 3, 3"
    ):
        recover_weights(path)
    kernel.name = "rfb3.conv_cat.conv.kernel"
    path.write_bytes(model_bytes(changed))
    with pytest.raises(ModelError, match=r"lacks a weight of Inf-Net"):
        recover_weights(path)
    for tensor in changed.graph.initializer:
        if tensor.name == "backbone.stem.0.weight":
            tensor.name = "stem"
    path.write_bytes(model_bytes(changed))
    with pytest.raises(
        ModelError, match=r"INF-4105.*names no weights of Inf-Net; expected an ONNX file that infnet-export"
    ):
        recover_weights(path)
    changed.graph.node[0].op_type = "QuantizeLinear"
    path.write_bytes(model_bytes(changed))
    with pytest.raises(ModelError, match="INF-4105.*computes in 8 bit and no longer holds the trained"):
        recover_weights(path)


def test_the_command(exported: Path, tmp_path: Path) -> None:
    for i in range(3):
        write_slice(tmp_path / "slices", f"s{i}", seed=i)
    out = tmp_path / "weights.safetensors"
    arguments = ["weights", str(exported), "-o", str(out), "--slices", str(tmp_path / "slices"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["slices"], report["fresh"], report["model"]) == (3, list(FRESH), "twin")
    assert read_checkpoint(out).state["recovered"]["slices"] == 3
