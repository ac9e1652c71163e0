"""What is too large for half precision is found on slices, and stays in single."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.products import Products, make
from infnet_export.make.wanted import Wanted
from infnet_runtime.errors import GateError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.networks import InfectionMap, Network
from infnet_train.weights.trained import TrainedNetwork

LAYERS = ("first", "second", "third")


class Three(Network):
    """Some of its features are as large as a gain, and its logits are not."""

    def __init__(self, large: tuple[str, ...], gain: float) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8))
        self.last = nn.Conv2d(8, 1, 1)
        with torch.no_grad():
            now = 1.0
            for name in (*LAYERS, "last"):
                wanted = gain if name in large else 1.0
                layer = self.get_submodule(name)
                assert isinstance(layer, nn.Conv2d)
                layer.weight.mul_(wanted / now)
                now = wanted

    def forward(self, x: Tensor) -> InfectionMap:
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x))
        return InfectionMap(self.last(x))


def made(network: Network, folder: Path) -> tuple[Products, list[str]]:
    trained = TrainedNetwork(network.eval(), PreprocessSpec(size=32), "three")
    start, _ = start_from_network(trained, "three", ModelCard(), WeightStorage.FP32)
    told: list[str] = []
    return make(start, folder, Wanted(fp16=True), say=told.append), told


def test_a_layer_with_large_features_stays_in_single_precision(tmp_path: Path) -> None:
    torch.manual_seed(1)
    products, told = made(Three(("second",), 1e5), tmp_path)
    products.check()
    assert products.float16
    kept = {name.split("/")[0] for name in products.float16.fp32_nodes}
    assert {"second", "third"} <= kept  # what makes the tensor and what takes it
    assert "first" not in kept
    assert products.kept.tensors == {"second/Conv:0", "Relu_2:0"}
    assert "FP16: 2 tensors are too large for it; what makes or takes them stays FP32" in told


def test_nothing_is_kept_where_all_fits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    products, told = made(Three(("second",), 2.0), tmp_path)
    products.check()
    assert products.kept.tensors == frozenset()
    assert products.float16
    assert not any(name.startswith(LAYERS) for name in products.float16.fp32_nodes)
    assert not any("too large" in line for line in told)


def test_where_nothing_fits_there_is_no_such_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    products, _ = made(Three(LAYERS, 1e5), tmp_path)
    assert "fp16" not in products.files
    with pytest.raises(GateError, match=r"holds none of the 8 layers: \d tensors are too large") as caught:
        products.check()
    assert caught.value.code == 7006
