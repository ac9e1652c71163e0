"""Inf-Net with a class head in one graph: the classes are exact, the infection is that of Inf-Net alone."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from infnet_export.graph.onnx_file import manifest_in
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.products import Products, make
from infnet_export.make.wanted import Wanted
from infnet_export.network.exportable import read_trained
from infnet_export.network.inf_net.inference_module import REWRITES, ClassPath
from infnet_export.network.inf_net.recovered import recover_weights
from infnet_export.precision.choice import keep_of
from infnet_export.precision.float16 import to_float16
from infnet_export.precision.notes import NOTES_KEY
from infnet_runtime.backends.open import open_session
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.model.only_outputs import with_only_outputs
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNetClasses
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.trained import TrainedNetwork
from twin import CARD, DAMPING

pytestmark = pytest.mark.slow  # Inf-Net is built or exported

RELATIVE = 1e-12  # of the largest value; double precision in another order of summation


def with_head(trained: TrainedNetwork) -> TrainedNetwork:
    """The network with a random head, whose normalisations know smooth slices."""
    torch.manual_seed(5)
    network = InfNetClasses()
    network.load_state_dict(trained.network.state_dict(), strict=False)
    network.eval()
    for module in network.class_head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    network.class_head.train()
    with torch.no_grad():
        network(torch.from_numpy(phantom_input(trained.preprocess)))
    for parameter in network.class_head.out.parameters():
        parameter.data.mul_(DAMPING)
    return replace(trained, network=network.eval(), kind="inf-net-classes")


@pytest.fixture(scope="module")
def telling(trained: TrainedNetwork) -> TrainedNetwork:
    return with_head(trained)


@pytest.fixture(scope="module")
def made(telling: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Products:
    start, _ = start_from_network(telling, "classes", CARD, WeightStorage.FP32)
    return make(start, tmp_path_factory.mktemp("classes"), Wanted())


def relative(expected: Tensor, found: Tensor) -> float:
    assert expected.shape == found.shape
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def test_the_path_to_the_classes_is_exact(telling: TrainedNetwork) -> None:
    network = copy.deepcopy(telling.network).double()
    assert isinstance(network, InfNetClasses)
    rewritten = copy.deepcopy(network)
    for rewrite in REWRITES:
        rewrite(rewritten)
    slices = torch.from_numpy(phantom_input(telling.preprocess)).double()
    expected, found = network(slices), ClassPath(rewritten)(slices)
    assert relative(expected.classes, found.classes) < RELATIVE
    assert relative(expected.prediction, found.prediction) < RELATIVE


def test_one_file_gives_both_and_is_the_network(made: Products) -> None:
    made.check()
    assert made.parity
    assert {form.passed for form in made.parity.forms} == {True}
    model = onnx.load(made.files["onnx"])
    manifest = manifest_in(model, made.files["onnx"])
    assert manifest.contract_version == 2
    assert manifest.outputs == (OutputSpec(thresholds=(CARD.threshold,)), CLASS_OUTPUT)
    _, half = to_float16(model, keep_of(model))
    assert any(name.startswith("class_head.out") for name in half.fp32_nodes)
    assert not any(name.startswith("class_head.coarse") for name in half.fp32_nodes)


def test_the_runtime_runs_it(made: Products, telling: TrainedNetwork) -> None:
    slices = phantom_input(telling.preprocess)
    with open_session(made.files["onnx"], device="cpu") as session:
        found = session.run(slices)
    assert {name: p.shape[1] for name, p in found.items()} == {
        "infection_probability": 1,
        CLASS_OUTPUT.name: 3,
    }
    assert float(np.ptp(found[CLASS_OUTPUT.name][:, 2])) > 0.01, "a constant answer would prove nothing"
    with open_session(made.files["onnx"], device="cpu", coarse=True) as session:
        assert session.coarse, "the infection leaves the network on its coarse grid"


def test_the_infection_is_that_of_inf_net_alone(made: Products, fp32_model: onnx.ModelProto) -> None:
    """Node by node and weight by weight."""
    whole = onnx.load(made.files["onnx"])
    cut = onnx.load_from_string(with_only_outputs(made.files["onnx"].read_bytes(), ["infection_probability"]))
    assert list(cut.graph.node) == list(fp32_model.graph.node)
    assert len(whole.graph.node) > len(cut.graph.node)
    weights = {t.name: t for t in whole.graph.initializer}
    assert all(weights[t.name] == t for t in fp32_model.graph.initializer)
    assert NOTES_KEY not in {p.key for p in whole.metadata_props}


def test_its_infection_comes_back_as_weights_and_what_stays_behind_is_said(
    made: Products, telling: TrainedNetwork
) -> None:
    recovered = recover_weights(made.files["onnx"])
    assert recovered.left_behind == ("class_probability",)
    slices = torch.from_numpy(phantom_input(telling.preprocess))
    with torch.no_grad():
        expected, found = telling.network(slices).prediction, recovered.network(slices).prediction
    assert float((torch.sigmoid(expected) - torch.sigmoid(found)).abs().max()) < 1e-4


def test_a_checkpoint_of_it_is_read(telling: TrainedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {f"weights/{k}": v for k, v in telling.network.state_dict().items()}
    state = {"config": {"network": "inf-net-classes", "preprocess": {"size": telling.preprocess.size}}}
    write_checkpoint(path, Checkpoint(tensors, state))
    read = read_trained(path)
    assert isinstance(read.network, InfNetClasses)
    assert read.weights_sha256 == telling.weights_sha256
