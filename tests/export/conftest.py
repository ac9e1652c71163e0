"""One small network with random weights, and one export of it, shared by all tests of the export."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from infnet_export.make.from_network import manifest_of
from infnet_export.network.inf_net.inference_module import inference_module
from infnet_export.network.tracing import onnx_model
from infnet_export.proof.parity import phantom_input
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.networks import InfNet
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.trained import TrainedNetwork
from twin import CARD, SIZE

DAMPING = 0.1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs an export of Inf-Net is slow: tracing it takes some ten seconds.

    The quick tests take a tiny network of two outputs the same way, see ``make/test_another_network.py``.
    """
    for item in items:
        if "fp32_model" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained() -> TrainedNetwork:
    """Random weights with the statistics of smooth slices: without them the logits reach 1e7."""
    torch.manual_seed(0)
    network, spec = InfNet(), PreprocessSpec(size=SIZE)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of all calls so far
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        network.train()(torch.from_numpy(phantom_input(spec)))
    damp(network, DAMPING)
    return TrainedNetwork(network.eval(), spec)


def damp(network: InfNet, factor: float) -> None:
    """Make the logits smaller: random weights amplify a rounding a hundred times more than trained ones."""
    levels = (network.reverse_attention5, network.reverse_attention4, network.reverse_attention3)
    for module in (network.partial_decoder.conv5, *(level.out.bn for level in levels)):
        for parameter in module.parameters():
            parameter.data.mul_(factor)


@pytest.fixture(scope="session")
def checkpoint(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "weights.safetensors"
    tensors = {f"weights/{k}": v for k, v in trained.network.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": asdict(trained.preprocess)}}))
    return path


@pytest.fixture(scope="session")
def fp32_model(trained: TrainedNetwork) -> onnx.ModelProto:
    return onnx_model(inference_module(trained.network), manifest_of(trained, CARD))
