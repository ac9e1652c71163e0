"""One small network with random weights, and one export of it, shared by all tests of the export."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from infnet_export.make.from_network import manifest_of
from infnet_export.network.inf_net.inference_module import inference_module
from infnet_export.network.tracing import onnx_model
from infnet_train.weights.trained import TrainedNetwork
from twin import CARD, random_network, write_weights


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
    return random_network()


@pytest.fixture(scope="session")
def checkpoint(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(trained, tmp_path_factory.mktemp("run") / "weights.safetensors")


@pytest.fixture(scope="session")
def fp32_model(trained: TrainedNetwork) -> onnx.ModelProto:
    return onnx_model(inference_module(trained.network), manifest_of(trained, CARD))
