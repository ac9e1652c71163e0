"""The command eval with classes: networks with and without a prior, ONNX, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.assess.evaluate_classes import ClassEvaluation, evaluate_classes
from infnet_train.cli.main import app
from infnet_train.config.schema import TrainConfig
from infnet_train.networks import NETWORKS, ClassMaps, InfectionMap, Network
from infnet_train.networks.multi_class_unet import MultiClassUNet
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.reference import unet_reference_name
from infnet_train.weights.trained import read_network
from tiny_models import classes_detector, mid_grey_detector
from train_config import train_config
from train_slices import add_classes, write_slice

SPEC = PreprocessSpec(size=96)
SOURCE = {"name": "small", "folder": "small", "classes": "Classes"}


class OfTheGrey(Network):
    """The disc of ``write_slice``: infected where grey is between lung and chest wall."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(50.0))

    def infected(self, x: Tensor) -> Tensor:
        grey = x[:, :1] * SPEC.std[0] + SPEC.mean[0]
        return self.slope * (0.15 - (grey - 140 / 255).abs())


class Finds(OfTheGrey):
    def forward(self, x: Tensor) -> InfectionMap:
        return InfectionMap(self.infected(x))


class AllGlass(OfTheGrey):
    """Says ground glass of all infection."""

    def forward(self, x: Tensor) -> ClassMaps:
        found = self.infected(x)
        return ClassMaps(torch.cat([-found, found, found - 9], dim=1))


class GlassInPrior(OfTheGrey):
    """Says ground glass wherever the prior is."""

    def forward(self, x: Tensor) -> ClassMaps:
        prior = self.slope * (x[:, 3:4] * SPEC.std[0] + SPEC.mean[0] - 0.5)
        return ClassMaps(torch.cat([-prior, prior, prior - 9], dim=1))


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("finds", Finds), ("all-glass", AllGlass), ("in-prior", GlassInPrior)):
        monkeypatch.setitem(NETWORKS, name, lambda _config, kind=kind: kind())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for i in range(3):
        write_slice(tmp_path / "small", f"s{i}", seed=i)
    add_classes(tmp_path / "small")
    return tmp_path / "small"


def config(network: str, **values: Any) -> TrainConfig:  # noqa: ANN401 - any value of a recipe
    return train_config(name="t", sources=[SOURCE], preprocess=SPEC, network=network, **values)


def saved(path: Path, made: TrainConfig, *, prior: str = "", slope: float = 50.0) -> Path:
    network = NETWORKS[made.architecture.network](made.architecture)
    tensors = {f"weights/{k}": torch.full_like(v, slope) for k, v in network.state_dict().items()}
    how = {"data": "", "slices": [3], "device": "cpu", "precision": "fp32", "augment_on_device": False}
    write_checkpoint(path, Checkpoint(tensors, {"config": to_plain(made), "how": how | {"prior": prior}}))
    return path


def with_prior(tmp_path: Path, first: Path, **values: float) -> Path:
    sha256 = read_network(first, purpose="test").weights_sha256
    made = config("in-prior", labels="classes", prior=True, priors={"model": str(first)})
    return saved(tmp_path / "classes.safetensors", made, prior=sha256, **values)


def dice(result: ClassEvaluation, name: str) -> float:
    value = result.scores[name].clinical.pooled.dice.value
    assert value is not None
    return value


def test_classes_of_a_network_that_takes_the_slice_alone(data: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", config("all-glass", labels="classes"))
    result = evaluate_classes(path, data, classes="Classes", device="cpu")
    # Half of each disc is ground glass, all of it is found: Dice 2/3, less what borders blur to.
    assert 0.4 < dice(result, "ground_glass") <= 2 / 3 + 0.02
    assert dice(result, "consolidation") == 0
    assert result.prior is None
    turned = evaluate_classes(path, data, classes="Classes", device="cpu", turn="transpose_flip")
    assert dice(turned, "ground_glass") == pytest.approx(dice(result, "ground_glass"), abs=0.02)


def test_text_and_json_say_by_which_protocol(data: Path, tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors", config("finds"))
    path = with_prior(tmp_path, first)
    command = ["eval", str(path), str(data), "--classes", "Classes", "--prior", "truth", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert report["prior"] == {"model": "truth", "sha256": "", "as_in_training": False}
    assert report["slices"] == report["paper"]["ground_glass"]["images"] == 3
    glass = report["clinical"]["ground_glass"]["pooled"]["dice"]["value"]
    assert glass == pytest.approx(2 / 3, abs=0.05)  # the prior is the disc
    text = CliRunner().invoke(app, command).stdout
    assert "prior     of the truth, which no slice has in use, another one than in training" in text
    assert "paper     classes as 0 and 1, mean over 256 thresholds, images that have the class" in text
    assert f"pooled dice            {glass:.3f} +- " in text


def test_the_prior_of_a_model_is_that_of_training_or_said_not_to_be(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = saved(tmp_path / "first.safetensors", config("finds"))
    path = with_prior(tmp_path, first)
    result = evaluate_classes(path, data, classes="Classes", prior=str(first), device="cpu")
    assert result.prior is not None
    assert result.prior.as_in_training is True
    assert ", as in training" in result.to_text()
    assert not caplog.records
    other = saved(tmp_path / "other.safetensors", config("finds"), slope=20.0)
    result = evaluate_classes(path, data, classes="Classes", prior=str(other), device="cpu")
    assert result.prior is not None
    assert result.prior.as_in_training is False
    assert "another one than in training" in caplog.text
    alone = evaluate_classes(
        saved(tmp_path / "a.safetensors", config("all-glass")), data, classes="Classes", device="cpu"
    )
    assert dice(result, "ground_glass") == pytest.approx(dice(alone, "ground_glass"), abs=0.05)


def test_a_prior_from_onnx(data: Path, tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors", config("finds"))
    onnx = mid_grey_detector(tmp_path / "first.onnx")
    path = with_prior(tmp_path, first)  # of another size than the file
    result = evaluate_classes(path, data, classes="Classes", prior=str(onnx), device="cpu")
    assert result.prior is not None
    assert result.prior.as_in_training is None
    assert len(result.prior.sha256) == 64
    assert dice(result, "ground_glass") > 0.1


def test_a_model_file_with_classes(data: Path, tmp_path: Path) -> None:
    """Where grey is darker than the middle it says ground glass, so consolidation is a little brighter."""
    path = classes_detector(tmp_path / "model.onnx")
    result = evaluate_classes(path, data, classes="Classes", device="cpu")
    assert result.prior is None
    assert len(result.model_sha256) == 64
    assert result.scores["ground_glass"].paper is not None
    assert result.scores["consolidation"].clinical.pooled.sensitivity.value > 0.5  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"INF-4143\] .* takes the slice alone: leave --prior out"):
        evaluate_classes(path, data, classes="Classes", prior="truth", device="cpu")


@pytest.mark.slow
def test_the_released_network_is_scored_with_the_prior_it_was_made_for(tmp_path: Path) -> None:
    write_slice(tmp_path / "small", "a", seed=0)
    add_classes(tmp_path / "small")
    torch.manual_seed(0)
    state = {unet_reference_name(name): tensor for name, tensor in MultiClassUNet().state_dict().items()}
    torch.save(state, tmp_path / "unet_model_200.pkl")
    result = evaluate_classes(
        tmp_path / "unet_model_200.pkl", tmp_path / "small", classes="Classes", prior="truth", device="cpu"
    )
    assert result.preprocess == PreprocessSpec()
    assert result.prior is not None
    assert result.prior.as_in_training is None
    assert len(result.scores["ground_glass"].clinical.volumes) == 1


def test_what_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors", config("finds"))
    path, alone = with_prior(tmp_path, first), saved(tmp_path / "a.safetensors", config("all-glass"))

    def refused(model: Path, text: str, prior: str = "") -> None:
        with pytest.raises(ModelError, match=rf"INF-4143\] .*{text}"):
            evaluate_classes(model, data, classes="Classes", prior=prior, device="cpu")

    refused(path, "is given the infection beside the slice: add --prior MODEL")
    refused(alone, "takes the slice alone: leave --prior out", "truth")
    refused(first, "does not tell ground glass from consolidation; leave --classes out")
    refused(mid_grey_detector(tmp_path / "model.onnx"), "does not tell ground glass from consolidation")
    with pytest.raises(
        ModelError, match=r"INF-4143\] .* holds a in-prior that is given the infection beside"
    ):
        evaluate_file(path, data, device="cpu")
    with pytest.raises(ModelError, match=r"INF-4140\] .* needs a prior itself"):
        evaluate_classes(path, data, classes="Classes", prior=str(path), device="cpu")


def test_options_that_do_not_go_together_are_refused(data: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", config("all-glass"))
    for options, text in (
        (["--prior", "truth"], "--prior belongs to --classes FOLDER"),
        (["--classes", "Classes", "--maps", str(tmp_path / "m")], "are of the infection"),
    ):
        done = CliRunner().invoke(app, ["eval", str(path), str(data), "--device", "cpu", *options])
        assert done.exit_code == 2
        assert text in " ".join(done.output.split())


def test_probabilities_that_are_not_finite_give_no_score(data: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", config("all-glass"), slope=float("nan"))
    with pytest.raises(GateError, match="probabilities that are not finite"):
        evaluate_classes(path, data, classes="Classes", device="cpu")
