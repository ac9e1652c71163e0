"""The command eval: weights of a run, the authors' file and ONNX, by both protocols."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from golden_fill import reference_state
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.cli.main import app
from infnet_train.data.pictures import DataError
from infnet_train.data.source import SourceConfig
from infnet_train.networks import InfNet
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from tiny_models import MANIFEST, mid_grey_detector
from train_config import changed, train_config
from train_slices import write_slice

CONFIG = train_config(
    name="small", sources=(SourceConfig(name="s", folder="small"),), preprocess=PreprocessSpec(size=64)
)


def checkpoint(path: Path, state: dict[str, Any], *, fill: float | None = None) -> Path:
    torch.manual_seed(0)
    tensors = {f"weights/{k}": v for k, v in InfNet().state_dict().items()}
    if fill is not None:
        tensors = {k: torch.full_like(v, fill) if v.is_floating_point() else v for k, v in tensors.items()}
    write_checkpoint(path, Checkpoint(tensors, state))
    return path


def test_onnx_in_text_and_json(slices: Path, tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    command = ["eval", str(model), str(slices / "small"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert len(report["model_sha256"]) == 64
    assert (report["slices"], report["turn"], report["device"]) == (6, "none", "cpu")
    assert report["paper"]["protocol"] == "paper"
    protocol = report["clinical"]["protocol"]
    assert (protocol["name"], protocol["empty"], protocol["threshold"]) == ("clinical", "one", 0.5)
    # The disc is mid-grey, so it is found; so is the blurred border of lung and chest.
    assert report["clinical"]["sensitivity"]["value"] > 0.8
    assert 0.2 < report["clinical"]["dice"]["value"] < 1
    dice = report["clinical"]["dice"]
    assert dice["low"] <= dice["value"] <= dice["high"]
    text = CliRunner().invoke(app, command).stdout
    assert f"  mean_dice         {report['paper']['mean_dice']:.4f}" in text.splitlines()
    assert f"  dice              {dice['value']:.4f}  {dice['standard_error']:.4f}" in text
    assert report["model_sha256"][:12] in text


def test_slices_are_turned_with_their_masks(slices: Path, tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    plain = evaluate_file(model, slices / "small", device="cpu")
    turned = evaluate_file(model, slices / "small", turn="transpose_flip", device="cpu")
    # The detector looks at single pixels and the resize is separable: turning changes rounding only.
    expected = plain.scores.clinical.per_slice.dice.value
    assert turned.scores.clinical.per_slice.dice.value == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_weights_of_a_run(slices: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "weights.safetensors", {"config": to_plain(CONFIG)})
    result = evaluate_file(path, slices / "small", device="cpu")
    assert result.preprocess == CONFIG.preprocess
    assert len(result.scores.clinical.volumes) == 6
    by_folder = evaluate_file(tmp_path, slices / "small", device="cpu")
    assert by_folder.to_dict()["clinical"] == result.to_dict()["clinical"]
    assert by_folder.model_sha256 == result.model_sha256


@pytest.mark.slow
def test_an_ablated_network_is_built_with_its_parts(slices: Path, tmp_path: Path) -> None:
    config = changed(CONFIG, parts=("partial_decoder",))
    network = InfNet(config.architecture.parts)
    tensors = {f"weights/{k}": v for k, v in network.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint(tensors, {"config": to_plain(config)}))
    result = evaluate_file(path, slices / "small", device="cpu")
    assert len(result.scores.clinical.volumes) == 6


@pytest.mark.slow
def test_the_authors_file_gets_their_preprocessing(tmp_path: Path) -> None:
    state = {k: v if k.endswith("num_batches_tracked") else v.float() for k, v in reference_state().items()}
    torch.save(state, tmp_path / "Inf-Net-100.pth")
    write_slice(tmp_path / "data", "a", seed=0)
    result = evaluate_file(tmp_path / "Inf-Net-100.pth", tmp_path / "data", device="cpu")
    assert result.preprocess == PreprocessSpec()
    assert "no interval" in result.to_text()


def test_weights_that_are_not_finite_give_no_score(slices: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "w.safetensors", {"config": to_plain(CONFIG)}, fill=float("nan"))
    with pytest.raises(GateError, match="probabilities that are not finite"):
        evaluate_file(path, slices / "small", device="cpu")


def test_the_threshold_is_that_of_the_model(slices: Path, tmp_path: Path) -> None:
    manifest = dataclasses.replace(MANIFEST, outputs=(OutputSpec(thresholds=(0.25,)),))
    model = mid_grey_detector(tmp_path / "model.onnx", manifest=manifest.to_json())
    result = evaluate_file(model, slices / "small", device="cpu")
    assert result.to_dict()["clinical"]["protocol"]["threshold"] == 0.25


def test_files_that_are_no_model_are_refused(slices: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "weights.safetensors", {"config": {}})
    with pytest.raises(ModelError, match="does not say how its training slices were prepared"):
        evaluate_file(path, slices / "small", device="cpu")
    write_checkpoint(path, Checkpoint({"model/a": torch.zeros(1)}, {}))
    with pytest.raises(ModelError, match="holds no weights to evaluate"):
        evaluate_file(path, slices / "small", device="cpu")
    with pytest.raises(ModelError, match="no checkpoint at"):
        evaluate_file(tmp_path / "none.safetensors", slices / "small", device="cpu")
    with pytest.raises(ModelError, match="no weight file at"):
        evaluate_file(tmp_path / "none.pth", slices / "small", device="cpu")


def test_data_that_cannot_be_scored(slices: Path, tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    with pytest.raises(DataError, match="no slices in"):
        evaluate_file(model, slices, device="cpu")
    (slices / "small" / "Imgs" / "s1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"s1\.png ends early"):
        evaluate_file(model, slices / "small", device="cpu")
    (slices / "small" / "GT" / "s0.png").unlink()
    with pytest.raises(DataError, match=r"s0\.png has no mask: expected"):
        evaluate_file(model, slices / "small", device="cpu")


def test_the_bare_command_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clean = {"INFNET_CONFIG": None, "INFNET_TRAIN_DATA": None, "INFNET_OUT": None}
    done = CliRunner().invoke(app, [], env=clean)
    assert done.exit_code == 2
    assert "there is no folder data/prepared here and no --data" in done.stderr
    assert "infnet-train data prepare FOLDER_OF_THE_SETS --out data/prepared" in done.stderr


def test_options_of_the_training_before_a_sub_command_are_refused() -> None:
    done = CliRunner().invoke(app, ["--device", "cpu", "data", "check", "."])
    assert done.exit_code == 2
    assert "--device belongs to a training, not to 'data'" in done.stderr
