"""A network that tells classes apart is exported with both outputs, whatever it is."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.start import Start
from infnet_export.network.exportable import exporter_of, read_trained
from infnet_export.proof.runs import by_onnxruntime
from infnet_runtime import load
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import NetworkConfig, build_network
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.trained import TrainedNetwork
from small_network import PlainClasses

SPEC = PreprocessSpec(size=64)
ROUNDING = 1e-5  # 2e-7 was seen


@pytest.fixture(scope="module")
def trained() -> TrainedNetwork:
    torch.manual_seed(2)
    return TrainedNetwork(PlainClasses(3).eval(), SPEC, "kinds")


@pytest.fixture(scope="module")
def start(trained: TrainedNetwork) -> Start:
    return start_from_network(trained, "kinds", ModelCard(threshold=0.3), WeightStorage.FP32)[0]


def test_both_outputs_are_the_network(trained: TrainedNetwork, start: Start) -> None:
    assert start.manifest.outputs == (OutputSpec(thresholds=(0.3,)), CLASS_OUTPUT)
    assert start.manifest.contract_version == 2
    slices = phantom_input(SPEC)
    found = by_onnxruntime(start.content, start.name)(slices)
    with torch.no_grad():
        outputs = trained.network(torch.from_numpy(slices))
    expected = {
        "infection_probability": torch.sigmoid(outputs.prediction),
        CLASS_OUTPUT.name: torch.softmax(outputs.classes, dim=1),
    }
    assert list(found) == list(expected)
    for name, probability in expected.items():
        assert found[name].shape == probability.shape
        assert float(np.abs(found[name] - probability.numpy()).max()) < ROUNDING
        assert float(np.ptp(found[name])) > 0.05, "a constant answer would prove nothing"
    for name, probability in start.exact(slices).items():
        assert float(np.abs(found[name] - probability).max()) < ROUNDING
    # Of such a network the infection is what is not background.
    background = found[CLASS_OUTPUT.name][:, :1]
    assert float(np.abs(found["infection_probability"] - (1 - background)).max()) < ROUNDING


def test_the_runtime_opens_it(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "kinds.onnx"
    path.write_bytes(start.content)
    assert [o.name for o in onnx.load(path).graph.output] == ["infection_probability", CLASS_OUTPUT.name]
    with load(path, backend="onnxruntime", device="cpu") as model:
        assert model.manifest.output.threshold == 0.3


def test_a_network_of_the_registry_that_was_trained_on_classes() -> None:
    config = NetworkConfig(network="unet", labels="classes")
    trained = TrainedNetwork(build_network(config).eval(), SPEC, "unet", config)
    assert exporter_of(trained).outputs[1] is CLASS_OUTPUT
    plain = NetworkConfig(network="unet")
    assert len(exporter_of(TrainedNetwork(build_network(plain).eval(), SPEC, "unet", plain)).outputs) == 1


def test_a_network_with_a_prior_cannot_run_alone(tmp_path: Path) -> None:
    config = NetworkConfig(network="unet", labels="classes", prior=True)
    tensors = {f"weights/{k}": v for k, v in build_network(config).state_dict().items()}
    path = tmp_path / "weights.safetensors"
    state = {"network": "unet", "labels": "classes", "prior": True, "preprocess": {"size": 64}}
    write_checkpoint(path, Checkpoint(tensors, {"config": state}))
    with pytest.raises(
        ModelError, match=r"\[INF-4110\] .* holds a unet that is given the infection"
    ) as caught:
        read_trained(path)
    assert f"infnet-export INFECTION.safetensors --classes {path}" in str(caught.value)
