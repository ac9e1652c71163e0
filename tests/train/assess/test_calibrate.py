"""The command calibrate: from a folder with labels to a temperature that the model can carry."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from infnet_runtime.errors import InputError
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_train.assess.calibrate import calibrate_file, labelled_pixels
from infnet_train.assess.evaluate import evaluate_file
from infnet_train.cli.main import app
from infnet_train.data.masks import read_labelled
from infnet_train.data.pictures import DataError
from infnet_train.data.source import SourceConfig
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from small_network import Plain
from tiny_models import MANIFEST, SIZE, mid_grey_detector
from train_config import train_config

SHARPENED_BY = 3.0
GAIN = 15.0
# T of eight drawings of slices and labels scattered by 0.5 % (standard deviation); four times that.
DRAWN = 0.02


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Four slices at network size, labels drawn with the probability a detector of gain ``GAIN`` gives."""
    for i in range(4):
        rng = np.random.default_rng(i)
        grey = rng.integers(40, 200, (SIZE, SIZE)).astype(np.uint8)
        logit = GAIN * (0.15 - np.abs(grey / 255 - 0.45))
        infected = rng.random(grey.shape) < 1 / (1 + np.exp(-logit))
        for kind, picture in (("Imgs", grey), ("GT", infected.astype(np.uint8) * 255)):
            (tmp_path / "drawn" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "drawn" / kind / f"{i}.png"), picture)
    return tmp_path / "drawn"


def sharp_detector(path: Path, output: OutputSpec | None = None) -> Path:
    manifest = dataclasses.replace(MANIFEST, outputs=(output or OutputSpec(),))
    return mid_grey_detector(path, gain=SHARPENED_BY * GAIN, manifest=manifest.to_json())


def test_the_command_finds_the_temperature(drawn: Path, tmp_path: Path) -> None:
    model = sharp_detector(tmp_path / "model.onnx")
    command = ["calibrate", str(model), str(drawn), "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert report["schema"] == "infnet.calibration/1"
    assert report["temperature"] == pytest.approx(SHARPENED_BY, rel=DRAWN)
    assert len(report["model_sha256"]) == 64
    assert (report["slices"], report["turn"], report["device"]) == (4, "none", "cpu")
    assert report["pixels"] == 4 * SIZE * SIZE
    assert report["model_temperature"] == 1
    before, after = report["before"], report["after"]
    for name in ("nll", "ece", "brier"):
        assert after[name] < before[name]
    assert after["ece"] < 0.02 < before["ece"]
    assert sum(b["pixels"] for b in before["bins"]) == sum(b["pixels"] for b in after["bins"])

    text = CliRunner().invoke(app, command).stdout
    assert f"temperature  {report['temperature']:.4f}, in the model now: 1" in text.splitlines()
    assert f"  neg. log-likelihood         {before['nll']:.4f}   {after['nll']:.4f}" in text
    assert f"infnet-export ... --temperature {report['temperature']:.4f}" in text


def test_eval_and_calibrate_look_at_the_folder_first(
    drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("Imgs", "GT"):
        shutil.copy(drawn / kind / "1.png", drawn / kind / "coronacases_007_1.png")
    for score in (evaluate_file, calibrate_file):
        caplog.clear()
        score(sharp_detector(tmp_path / "model.onnx"), drawn, device="cpu")
        assert "1 of 5 slices are of reserved cases (coronacases_007_1, ...)" in caplog.text
        assert "(coronacases_007_1 is 1, ...) and count twice" in caplog.text


def test_a_temperature_in_the_model_is_not_applied_twice(drawn: Path, tmp_path: Path) -> None:
    plain = calibrate_file(sharp_detector(tmp_path / "plain.onnx"), drawn, device="cpu")
    carries = sharp_detector(tmp_path / "carries.onnx", OutputSpec(temperature=plain.temperature))
    again = calibrate_file(carries, drawn, device="cpu")
    assert again.temperature == plain.temperature
    assert again.before == plain.before
    assert again.model_temperature == plain.temperature


def test_eval_scores_the_calibrated_probability(drawn: Path, tmp_path: Path) -> None:
    """At 0.5 calibration changes no mask, only the distance from the truth; at another threshold it does."""
    at_half, at_third = (
        [
            evaluate_file(
                sharp_detector(
                    tmp_path / "m.onnx", OutputSpec(thresholds=(threshold,), temperature=temperature)
                ),
                drawn,
                device="cpu",
            ).scores.clinical.per_slice
            for temperature in (1.0, SHARPENED_BY)
        ]
        for threshold in (0.5, 0.3)
    )
    for name in ("dice", "sensitivity", "precision", "specificity"):
        assert getattr(at_half[0], name) == getattr(at_half[1], name)
        assert getattr(at_third[0], name) != getattr(at_third[1], name)
    assert at_half[0].mae != at_half[1].mae


def test_slices_and_labels_turn_together(drawn: Path, tmp_path: Path) -> None:
    model = sharp_detector(tmp_path / "model.onnx")
    plain = calibrate_file(model, drawn, device="cpu")
    turned = calibrate_file(model, drawn, turn="transpose", device="cpu")
    # The detector looks at single pixels at their own size, so only the order of sums changes.
    assert turned.temperature == pytest.approx(plain.temperature, rel=1e-6)


def test_pixels_inside_the_lungs(slices: Path) -> None:
    def predict(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return grey.astype(np.float32) / np.float32(255)

    whole, inside = (
        labelled_pixels(read_labelled(slices / "small", "none"), predict, inside_lungs=choice)
        for choice in (False, True)
    )
    assert whole.probability.size == 6 * 70 * 90
    assert 0 < inside.probability.size < 0.6 * whole.probability.size
    # The chest wall is bright and left out, but for one slice in which no lung is found.
    assert (inside.probability > 0.7).mean() < 0.2 < 0.4 < (whole.probability > 0.7).mean()


def test_slices_without_lungs_count_whole(
    drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = sharp_detector(tmp_path / "model.onnx")
    whole = calibrate_file(model, drawn, device="cpu")
    inside = calibrate_file(model, drawn, device="cpu", inside_lungs=True)
    assert (inside.pixels, inside.inside_lungs) == (whole.pixels, True)
    assert "no lung was found in slice 3, all of it counts" in caplog.text
    assert "inside the lungs" in inside.to_text()
    assert "of whole slices" in whole.to_text()


def test_weights_of_a_run(slices: Path, small_network: str, tmp_path: Path) -> None:
    config = train_config(
        name="small",
        network=small_network,
        sources=(SourceConfig(name="s", folder="small"),),
        preprocess=PreprocessSpec(size=64),
    )
    tensors = {f"weights/{k}": v for k, v in Plain().state_dict().items()}
    # All weights 0 give the probability 0.5 everywhere, for which no temperature is best.
    tensors = {k: v * 0 if v.is_floating_point() else v for k, v in tensors.items()}
    write_checkpoint(tmp_path / "weights.safetensors", Checkpoint(tensors, {"config": to_plain(config)}))
    with pytest.raises(InputError, match="no temperature from 0.05 to 20 is best"):
        calibrate_file(tmp_path, slices / "small", device="cpu")


@pytest.mark.slow
def test_the_benchmark_draws_both_curves(drawn: Path, tmp_path: Path) -> None:
    model = sharp_detector(tmp_path / "model.onnx", OutputSpec(temperature=SHARPENED_BY))
    script = Path(__file__).parents[3] / "benchmarks" / "reliability.py"
    output = ["--png", str(tmp_path / "curve.png"), "--json", str(tmp_path / "curve.json")]
    subprocess.run([sys.executable, str(script), str(model), str(drawn), *output], check=True)
    curves = json.loads((tmp_path / "curve.json").read_text())["curves"]
    assert list(curves) == ["T = 1", "T = 3"]
    assert curves["T = 3"]["ece"] < 0.02 < curves["T = 1"]["ece"]
    picture = cv2.imread(str(tmp_path / "curve.png"))
    assert picture is not None
    # Both curves are there: more than text and lines have colour.
    assert (np.ptp(picture.astype(int), axis=2) > 100).mean() > 0.05


def test_data_that_cannot_be_fitted_are_refused(drawn: Path, tmp_path: Path) -> None:
    model = sharp_detector(tmp_path / "model.onnx")
    with pytest.raises(DataError, match="no slices in"):
        calibrate_file(model, tmp_path, device="cpu")
    for path in (drawn / "GT").iterdir():
        cv2.imwrite(str(path), np.zeros((SIZE, SIZE), np.uint8))
    done = CliRunner().invoke(app, ["calibrate", str(model), str(drawn), "--device", "cpu"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("[INF-3192] calibration: 0 of ")


def test_help_warns_of_the_test_set() -> None:
    done = CliRunner().invoke(app, ["calibrate", "--help"], env={"COLUMNS": "200"})
    assert "Validation slices, never the test set" in done.stdout
