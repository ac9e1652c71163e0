"""A network of another kind with two outputs goes the whole way, and nothing but its exporter knows of it."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from infnet_export.graph.onnx_file import manifest_in
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.products import Products, make
from infnet_export.make.start import Start, start_from_onnx
from infnet_export.make.wanted import Wanted
from infnet_export.network.exportable import EXPORTERS
from infnet_export.network.exporter import Exporter
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.precision.notes import NOTES_KEY, PrecisionNotes, notes_by_rule, notes_in
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.manifest import ClassSpec, OutputSpec, PreprocessSpec
from infnet_train.networks import Network
from infnet_train.weights.trained import TrainedNetwork
from train_slices import write_slice

LESIONS = OutputSpec(
    name="lesions",
    activation="softmax",
    classes=tuple(
        ClassSpec(value=v, name=n, scheme="99TEST", code=n, meaning=n)
        for v, n in ((2, "ground glass"), (3, "consolidation"))
    ),
    thresholds=(),
)
NOTES = PrecisionNotes(fp32=("lesion_head",))


class Two(Network):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.infection_head, self.lesion_head = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 3, 1)

    def probabilities(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.stem(slices))
        lesions = torch.softmax(self.lesion_head(features), dim=1)
        return torch.sigmoid(self.infection_head(features)), lesions


class Inference(nn.Module):
    def __init__(self, network: Two) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).float().eval()

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.probabilities(slices)


def probabilities(network: Network, slices: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(network, Two)
    return network.probabilities(slices)


def inference(network: Network) -> nn.Module:
    assert isinstance(network, Two)
    return Inference(network).eval()


TWO = Exporter(inference=inference, probabilities=probabilities, outputs=(OutputSpec(), LESIONS), notes=NOTES)


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPORTERS, "two", TWO)
        yield


@pytest.fixture(scope="module")
def two() -> TrainedNetwork:
    torch.manual_seed(3)
    return TrainedNetwork(Two().eval(), PreprocessSpec(size=32), "two")


@pytest.fixture(scope="module")
def start(two: TrainedNetwork) -> Start:
    return start_from_network(two, "two", ModelCard(threshold=0.3), WeightStorage.FP32)[0]


@pytest.fixture(scope="module")
def made(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Products:
    tmp_path = tmp_path_factory.mktemp("two")
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    wanted = Wanted(fp16=True, int8=True, calibration=tmp_path / "labelled", triton=tmp_path / "triton")
    return make(start, tmp_path / "out", wanted)


def test_all_files_are_made_and_both_outputs_compared(made: Products) -> None:
    assert made.parity
    assert made.float16
    assert made.int8
    assert {form.passed for form in made.parity.forms} == {True, None}
    for kind in ("onnx", "fp16", "int8"):
        model = onnx.load(made.files[kind])
        assert [o.name for o in model.graph.output] == ["infection_probability", "lesions"]
        manifest = manifest_in(model, made.files[kind])
        assert manifest.outputs == (OutputSpec(thresholds=(0.3,)), LESIONS)
        assert manifest.contract_version == 2
    assert "lesion_head/Conv" in made.float16.fp32_nodes
    assert not any(name.startswith("stem") for name in made.float16.fp32_nodes)
    assert {cost.part for cost in made.int8.costs} == {"stem", "logits"}
    config = (made.files["triton"] / "config.pbtxt").read_text()
    assert 'name: "lesions"' in config


def test_notes_travel_where_the_graph_does_not_show_them(made: Products, tmp_path: Path) -> None:
    model = onnx.load(made.files["onnx"])
    assert notes_by_rule(model) == PrecisionNotes(divided=("stem",))
    assert notes_in(model) == NOTES
    again = make(start_from_onnx(made.files["onnx"], "two"), tmp_path / "again", Wanted(fp16=True))
    assert again.files["fp16"].read_bytes() == made.files["fp16"].read_bytes()


def test_a_fault_in_the_second_output_is_found(two: TrainedNetwork, start: Start, tmp_path: Path) -> None:
    other = copy.deepcopy(two.network)
    assert isinstance(other, Two)
    assert other.lesion_head.bias is not None
    with torch.no_grad():
        other.lesion_head.bias.add_(torch.tensor([0.0, 0.2, 0.0]))
    with pytest.raises(GateError, match="no model was written"):
        make(
            replace(start, exact=lambda slices: network_probabilities(other, TWO, slices), others=()),
            tmp_path / "out",
            Wanted(),
        )
    assert not list((tmp_path / "out").iterdir())


def test_a_network_that_the_export_does_not_know_is_refused(two: TrainedNetwork) -> None:
    with pytest.raises(ModelError, match="holds the network .x.; only inf-net, two can"):
        start_from_network(replace(two, kind="x"), "two", ModelCard())


def test_inf_net_needs_no_notes_in_its_files(fp32_model: onnx.ModelProto) -> None:
    """So that the shipped file, which has none, is read as it was made."""
    assert notes_by_rule(fp32_model) == EXPORTERS["inf-net"].notes
    assert NOTES_KEY not in {p.key for p in fp32_model.metadata_props}


def test_probabilities_are_named(two: TrainedNetwork) -> None:
    slices = np.zeros((2, 3, 32, 32), np.float32)
    found = network_probabilities(two.network, TWO, slices)
    assert {name: p.shape for name, p in found.items()} == {
        "infection_probability": (2, 1, 32, 32),
        "lesions": (2, 3, 32, 32),
    }
