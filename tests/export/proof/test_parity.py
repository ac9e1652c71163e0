"""The comparison of the file with the network, and that it can fail."""

import copy
import os
import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from infnet_export.graph.onnx_file import model_bytes
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, manifest_of, start_from_network
from infnet_export.network.exportable import read_trained
from infnet_export.network.inf_net.exporter import INF_NET
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.precision.half_weights import with_half_weights
from infnet_export.proof.parity_report import Form, measure_forms
from infnet_export.proof.runs import by_onnxruntime
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError
from infnet_runtime.metrics.parity import (
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    Parity,
    Tolerance,
    compare,
    network_thresholds,
)
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.segment.sampled import phantom_input
from infnet_runtime.slices.preprocess import to_network
from infnet_runtime.slices.temperature import network_threshold
from infnet_train.networks import InfNet
from infnet_train.weights.trained import TrainedNetwork
from twin import CARD, SIZE

PUBLISHED = 1e-3
"""What is asked of weights stored as FP16 on real slices, for the largest distance in probability; 2e-4 was
seen after a brief training."""


def measure_parity(content: bytes, network: InfNet, slices: FloatArray, manifest: ModelManifest) -> Parity:
    form = Form("the exported model", by_onnxruntime(content, "model.onnx"), None, "measured")
    expected = network_probabilities(network, INF_NET, slices)
    (result,), _ = measure_forms([form], expected, slices, network_thresholds(manifest), (3,))
    return result.worst


def parity_of(model: onnx.ModelProto, trained: TrainedNetwork) -> Parity:
    manifest = manifest_of(trained, CARD)
    return measure_parity(model_bytes(model), trained.network, phantom_input(trained.preprocess), manifest)


def test_fp32_file_equals_the_network(fp32_model: onnx.ModelProto, trained: TrainedNetwork) -> None:
    parity = parity_of(fp32_model, trained)
    assert FP32_TOLERANCE.faults(parity) == []
    assert parity.slices == 4
    assert parity.undecided > 0.1, "a saturated network would hide every difference"
    assert parity.mask_dice > 0.999
    assert parity.mask_disagreement < 1e-3


def test_fp16_file_is_near_the_network_but_not_equal(
    fp32_model: onnx.ModelProto, trained: TrainedNetwork
) -> None:
    half, _ = with_half_weights(fp32_model)
    parity = parity_of(half, trained)
    assert FP16_TOLERANCE.faults(parity) == []
    assert parity.mean_distance > 10 * parity_of(fp32_model, trained).mean_distance


def test_masks_are_compared_as_the_runtime_makes_them(
    fp32_model: onnx.ModelProto, trained: TrainedNetwork
) -> None:
    """The threshold is one on the calibrated probability."""
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        network.reverse_attention3.out.bn.bias.add_(0.05)
    other, content = TrainedNetwork(network, trained.preprocess), model_bytes(fp32_model)

    def parity(threshold: float, temperature: float) -> Parity:
        manifest = manifest_of(other, ModelCard(threshold=threshold, temperature=temperature))
        return measure_parity(content, network, phantom_input(trained.preprocess), manifest)

    calibrated = parity(0.45, 1.2)
    assert calibrated == parity(network_threshold(0.45, 1.2), 1.0)
    assert calibrated.mask_dice != parity(0.45, 1.0).mask_dice


@pytest.mark.parametrize("tolerance", [FP32_TOLERANCE, FP16_TOLERANCE])
def test_perturbed_weights_are_found(
    fp32_model: onnx.ModelProto, trained: TrainedNetwork, tolerance: Tolerance
) -> None:
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        network.reverse_attention3.out.bn.bias.add_(0.05)
    parity = parity_of(fp32_model, TrainedNetwork(network, trained.preprocess))
    assert re.match(r"a probability by 0\.0\d+ \(at most 0\.00[15]\)", tolerance.faults(parity)[0])


def test_swapped_slices_are_found(fp32_model: onnx.ModelProto, trained: TrainedNetwork) -> None:
    """The comparison is slice by slice, so an order broken by batching would show."""
    slices = phantom_input(trained.preprocess)
    with torch.no_grad():
        p = torch.sigmoid(trained.network(torch.from_numpy(slices)).s3).numpy()
    assert FP32_TOLERANCE.faults(compare(p[[0, 2, 1, 3]], p, [0.5]))


def test_not_a_number_fails(fp32_model: onnx.ModelProto, trained: TrainedNetwork) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(fp32_model)
    (bias,) = (t for t in broken.graph.initializer if t.name == "partial_decoder.conv5.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([np.nan], np.float32), bias.name))
    assert FP32_TOLERANCE.faults(parity_of(broken, trained))[0].startswith(
        "probabilities that are not finite"
    )


def test_comparing_nothing_fails() -> None:
    slices = np.empty((0, 3, SIZE, SIZE), np.float32)
    with pytest.raises(GateError, match="no slices to compare the exported model on") as caught:
        measure_forms([], {}, slices, {}, (3,))
    assert caught.value.code == 7004


@pytest.fixture
def shipped() -> TrainedNetwork:
    """The checkpoint behind the shipped model, or the one named by ``INFNET_CHECKPOINT``."""
    named = os.environ.get("INFNET_CHECKPOINT")
    found = [Path(named)] if named else sorted((Path(__file__).parents[3] / "models").glob("*.safetensors"))
    if not found:
        pytest.skip("no trained checkpoint in models/; name one with INFNET_CHECKPOINT")
    return read_trained(found[0])


@pytest.mark.data
@pytest.mark.slow
def test_half_weights_on_real_slices(data_root: Path, shipped: TrainedNetwork) -> None:
    """Full size. Random weights would prove nothing: they amplify a rounding a hundred times more."""
    files = sorted((data_root / "covid-semiseg/TestingSet/LungInfection-Test/Imgs").glob("*"))[::12]
    upright = [cv2.imread(str(f), cv2.IMREAD_GRAYSCALE).T[None] for f in files]
    slices = np.concatenate([to_network(u, Intensity.WINDOWED, shipped.preprocess) for u in upright])
    assert len(slices) >= 4
    start, _ = start_from_network(shipped, "model", ModelCard(), WeightStorage.FP16)
    parity = measure_parity(start.content, shipped.network, slices, start.manifest)
    assert parity.largest_distance < PUBLISHED
    assert parity.mask_dice > 0.999
    assert len(start.content) < 66e6
