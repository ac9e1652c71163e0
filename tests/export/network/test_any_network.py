"""Every network of the registry is exported, agrees with itself in double precision, and measures a scan."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from builders import chest_phantom
from infnet_export.graph.onnx_file import operators
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.products import make
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.network.exporter import Exporter
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.proof.runs import by_onnxruntime
from infnet_runtime import CtVolume, Intensity, load
from infnet_runtime.metrics.parity import FP32_TOLERANCE, Parity, compare
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import NETWORKS, Network, NetworkConfig, build_network
from infnet_train.weights.trained import TrainedNetwork
from small_network import NAME, Plain
from train_slices import write_slice

pytestmark = pytest.mark.slow  # tracing takes seconds for each

SPEC = PreprocessSpec(size=64)
ABLATED = {
    f"inf-net with {' and '.join(parts) or 'no part'}": NetworkConfig(parts=parts)
    for parts in ((), ("partial_decoder", "reverse_attention"))
}
CONFIGS = {name: NetworkConfig(network=name) for name in NETWORKS} | ABLATED
TOLERANCE = FP32_TOLERANCE
"""Random weights amplify a rounding: PyTorch in single precision is up to 2e-4 from itself in double."""
THRESHOLD = 0.45


def settled(network: Network) -> Network:
    """Random weights with the statistics of slices, or logits may be of any size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of all calls so far
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        network.train()(torch.from_numpy(phantom_input(SPEC)))
    return network.eval()


@pytest.fixture(scope="module", params=CONFIGS)
def trained(request: pytest.FixtureRequest) -> TrainedNetwork:
    torch.manual_seed(0)
    config = CONFIGS[request.param]
    return TrainedNetwork(settled(build_network(config)), SPEC, config.network)


@pytest.fixture(scope="module")
def start(trained: TrainedNetwork) -> Start:
    return start_from_network(trained, "any", ModelCard(threshold=THRESHOLD), WeightStorage.FP32)[0]


def apart(start: Start) -> Parity:
    """The file in ONNX Runtime from the network in double precision."""
    slices = phantom_input(SPEC)[:2]
    name = start.manifest.output.name
    found = by_onnxruntime(start.content, start.name)(slices)[name]
    return compare(found, start.exact(slices)[name], [start.manifest.output.threshold])


def test_the_file_agrees_with_the_network(trained: TrainedNetwork, start: Start) -> None:
    assert start.manifest.name == trained.kind
    parity = apart(start)
    assert TOLERANCE.faults(parity) == []
    assert parity.undecided > 0.9  # a map of zeros and ones would hide every distance


def test_its_graph_has_no_arithmetic_on_shapes(start: Start) -> None:
    assert not {"Shape", "Gather", "Identity"} & set(operators(onnx.load_model_from_string(start.content)))


def test_it_measures_a_scan(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "any.onnx"
    path.write_bytes(start.content)
    phantom = chest_phantom((5, 72, 96), (48.0, 4.5, 4.0))
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    with load(path, backend="onnxruntime", device="cpu") as model:
        found = model.predict(scan, lungs=phantom.lungs, keep_probability=True)
    assert found.probability is not None
    inside = phantom.lungs > 0
    expected = inside & (found.probability.astype(np.float32) >= THRESHOLD)
    # the probability is kept in half precision
    assert np.count_nonzero(found.mask != expected) <= 0.01 * inside.sum()
    assert found.quantification.both.infection_ml == pytest.approx(phantom.volume_ml(found.mask > 0))
    assert found.provenance.slices_run == np.count_nonzero(inside.any(axis=(1, 2)))


def test_a_plain_network_in_half_precision_and_8_bit(tmp_path: Path) -> None:
    """What stays in float is found by measurement, since nothing is said of its parts."""
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    torch.manual_seed(0)
    unet = TrainedNetwork(settled(build_network(NetworkConfig(network="unet"))), SPEC, "unet")
    start, _ = start_from_network(unet, "unet", ModelCard(), WeightStorage.FP16)
    made = make(start, tmp_path / "out", Wanted(fp16=True, int8=True, calibration=tmp_path / "labelled"))
    assert {"onnx", "fp16"} <= set(made.files)
    assert made.float16
    assert set(made.float16.fp32_nodes) == {"head/Conv", "Sigmoid"}
    assert made.int8
    assert {f"down.{k}" for k in range(5)} | {"up", "logits"} == {cost.part for cost in made.int8.costs}
    assert made.int8.float_parts[0] == made.int8.costs[0].part
    assert made.int8.loss < made.int8.loss_all / 2
    # Random weights are undecided everywhere, so that their masks may move too far in 8 bit.
    assert made.gate
    assert set(made.failed) <= {"int8"}


def test_a_fault_in_the_file_would_be_seen() -> None:
    torch.manual_seed(0)
    trained = TrainedNetwork(settled(Plain()), SPEC, NAME)
    other = copy.deepcopy(trained.network)
    assert isinstance(other, Plain)
    assert other.last.bias is not None
    with torch.no_grad():
        other.last.bias.add_(0.01)
    start, _ = start_from_network(trained, "any", ModelCard(), WeightStorage.FP32)
    shifted = replace(start, exact=lambda slices: network_probabilities(other, Exporter(), slices))
    assert TOLERANCE.faults(apart(start)) == []
    assert TOLERANCE.faults(apart(shifted)) != []
