"""Two networks in one graph: the second is given what the first finds, and the first stays as it is."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.onnx_file import manifest_in
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.network.exportable import read_trained, read_two_step
from infnet_export.network.two_step import TrainedTwoStep
from infnet_export.precision.notes import notes_in
from infnet_export.proof.runs import by_onnxruntime
from infnet_runtime import load
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.model.only_outputs import with_only_outputs
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import NETWORKS, Network
from infnet_train.networks.guided import beside
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.trained import read_network
from small_network import CLASSES_NAME, MAKERS, NAME

SPEC = PreprocessSpec(size=64)
ROUNDING = 1e-5  # 2e-7 was seen


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, maker in MAKERS.items():
            patch.setitem(NETWORKS, name, maker)
        yield


def written(path: Path, network: str, *, seed: int, prior: str | None = None, **preprocess: object) -> Path:
    """A checkpoint with random weights, as a training leaves it; ``prior`` is the hash of its prior."""
    config: dict[str, object] = {"network": network, "preprocess": {"size": 64, **preprocess}}
    if network == CLASSES_NAME:
        config |= {"labels": "classes", "prior": prior is not None}
    torch.manual_seed(seed)
    channels = 3 if prior is None else 6
    made: Network = MAKERS[network](_Config(channels))  # type: ignore[arg-type]
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    tensors = {f"weights/{k}": v for k, v in made.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": config, "how": {"prior": prior or ""}}))
    return path


class _Config:
    def __init__(self, in_channels: int) -> None:
        self.in_channels = in_channels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def infection(folder: Path) -> Path:
    return written(folder / "infection.safetensors", NAME, seed=1)


@pytest.fixture(scope="module")
def guided(folder: Path, infection: Path) -> Path:
    return written(
        folder / "guided.safetensors", CLASSES_NAME, seed=2, prior=read_trained(infection).weights_sha256
    )


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    return written(folder / "alone.safetensors", CLASSES_NAME, seed=3)


def expected(infection: Path, classes: Path, slices: np.ndarray) -> dict[str, np.ndarray]:
    """By the two networks, one after the other."""
    x = torch.from_numpy(slices)
    first, second = read_trained(infection), read_network(classes, purpose="test")
    with torch.no_grad():
        probability = torch.sigmoid(first.network(x).prediction)
        if second.config.prior:
            x = beside(x, probability, SPEC.mean, SPEC.std)
        told = torch.softmax(second.network(x).classes, dim=1)  # type: ignore[arg-type]  # it tells them
    return {"infection_probability": probability.numpy(), CLASS_OUTPUT.name: told.numpy()}


@pytest.mark.usefixtures("guided", "alone")
@pytest.mark.parametrize("second", ["guided", "alone"])
def test_one_graph_is_both_networks(infection: Path, second: str, folder: Path) -> None:
    classes = folder / f"{second}.safetensors"
    written_by = read_two_step(infection, classes)
    start, _ = start_from_network(written_by, "two", ModelCard(threshold=0.4), WeightStorage.FP32)
    assert start.manifest.name == "plain and plain-classes"
    assert start.manifest.outputs == (OutputSpec(thresholds=(0.4,)), CLASS_OUTPUT)
    assert start.manifest.weights_sha256 != read_trained(infection).weights_sha256
    slices = phantom_input(SPEC)
    found, exact = by_onnxruntime(start.content, "two")(slices), start.exact(slices)
    for name, probability in expected(infection, classes, slices).items():
        assert float(np.abs(found[name] - probability).max()) < ROUNDING
        assert float(np.abs(exact[name] - probability).max()) < ROUNDING
        assert float(np.ptp(probability)) > 0.05, "a constant answer would prove nothing"


def test_the_infection_is_that_of_its_own_file(infection: Path, guided: Path) -> None:
    both, _ = start_from_network(read_two_step(infection, guided), "m", ModelCard(), WeightStorage.FP32)
    one, _ = start_from_network(read_trained(infection), "m", ModelCard(), WeightStorage.FP32)
    whole, single = onnx.load_from_string(both.content), onnx.load_from_string(one.content)
    cut = onnx.load_from_string(with_only_outputs(both.content, ["infection_probability"]))
    assert list(cut.graph.node) == list(single.graph.node)
    weights = {t.name: t for t in whole.graph.initializer}
    assert all(weights[t.name] == t for t in single.graph.initializer)
    assert {"class_network.first/Conv", "class_network.last/Conv"} <= {n.name for n in whole.graph.node}
    assert "class_network" in notes_in(whole).divided


def test_the_prior_matters(infection: Path, guided: Path, folder: Path) -> None:
    slices = phantom_input(SPEC)
    other = written(folder / "other.safetensors", NAME, seed=9)
    one, two = (expected(path, guided, slices)[CLASS_OUTPUT.name] for path in (infection, other))
    assert float(np.abs(one - two).max()) > 100 * ROUNDING


def test_the_command_makes_one_file_that_the_runtime_opens(
    infection: Path, guided: Path, tmp_path: Path
) -> None:
    words = [str(infection), "--classes", str(guided), "-o", str(tmp_path / "two.onnx"), "--fp16"]
    done = CliRunner().invoke(app, [*words, "--weights", "fp32"])
    assert done.exit_code == 0, done.output
    model = onnx.load(tmp_path / "two.onnx")
    assert manifest_in(model, tmp_path).contract_version == 2
    report = (tmp_path / "two.parity.md").read_text()
    assert "| two.onnx, ONNX Runtime CPU |" in report
    assert f"| two.onnx, ONNX Runtime CPU: {CLASS_OUTPUT.name} |" in report
    for name in ("two.onnx", "two.fp16.onnx"):
        with load(tmp_path / name, backend="onnxruntime", device="cpu", classes=True) as opened:
            assert opened.manifest.class_output == CLASS_OUTPUT
    told = CliRunner().invoke(app, ["inspect", str(tmp_path / "two.onnx")])
    assert "class_probability" in told.output


def test_weights_are_asked_for(guided: Path) -> None:
    for words in (["--classes", str(guided)], ["model.onnx", "--classes", str(guided)]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert "needs the weights of the network that" in done.output


def test_classes_behind_another_network_warn(
    infection: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guided = written(folder / "behind.safetensors", CLASSES_NAME, seed=2, prior="f" * 64)
    own = read_trained(infection).weights_sha256
    with caplog.at_level(logging.WARNING):
        assert isinstance(read_two_step(infection, guided), TrainedTwoStep)
    assert f"behind the infection network ffffffffffff, and goes behind {own[:12]} here" in caplog.text


def test_no_warning_behind_the_right_network(
    infection: Path, guided: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read_two_step(infection, guided)
    assert caplog.text == ""


def test_what_does_not_go_together_is_refused(
    infection: Path, guided: Path, alone: Path, folder: Path
) -> None:
    wide = written(folder / "wide.safetensors", CLASSES_NAME, seed=3, window_hu=[-1000.0, 400.0])
    for first, second, code, said in (
        (guided, alone, 4110, "is given the infection beside the slice"),
        (infection, infection, 4111, "holds a plain that finds the infection and does not tell its classes"),
        (infection, wide, 4112, "window_hu [[-1000.0, 400.0]] and [[-1050.0, 250.0]]"),
    ):
        with pytest.raises(ModelError) as caught:
            read_two_step(first, second)
        assert caught.value.code == code
        assert said in str(caught.value)
