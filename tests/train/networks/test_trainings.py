"""Every network of the tables trains, resumes to the bit and is evaluated, through the real commands."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from infnet_train.cli.main import app
from infnet_train.data.source import SourceConfig
from infnet_train.networks import NETWORKS
from infnet_train.run.loop import train
from infnet_train.weights.checkpoint import read_checkpoint
from train_config import train_config
from train_slices import write_slice

pytestmark = pytest.mark.slow  # their widths are what they are

# Inf-Net's have tests of their own; the other DeepLab differs in strides and dilations alone.
NAMES = [name for name in NETWORKS if not name.startswith("inf-net") and name != "deeplabv3+-16"]
# Two steps of two slices; the deepest features of the largest have one pixel at 32, so 64.
RECIPE = """
name = "tiny"
epochs = 2
batch_size = 2
sizes = [64]
ema = 0.0
sources = [{ name = "small", folder = "small" }]
[preprocess]
size = 64
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(2):
        write_slice(root / "small", f"s{i}", seed=i)
    (root / "tiny.toml").write_text(RECIPE)
    return root


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("name", NAMES)
def test_a_network_trains_resumes_and_is_evaluated(name: str, data: Path, tmp_path: Path) -> None:
    command = ("--config", data / "tiny.toml", "--data", data, "--network", name, "--threads", 1)
    done = run(*command, "-o", tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert read_checkpoint(tmp_path / "whole/weights.safetensors").state["config"]["network"] == name

    def stop(step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    config = train_config(
        name="tiny", network=name, sources=(SourceConfig(name="small", folder="small"),), epochs=2,
        batch_size=2, sizes=(64,), ema=0.0, preprocess={"size": 64},
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "broken", progress=stop)
    done = run(*command, "-o", tmp_path / "broken", "--resume")
    assert done.exit_code == 0, done.output
    whole, resumed = (
        read_checkpoint(tmp_path / folder / "weights.safetensors").group("weights")
        for folder in ("whole", "broken")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole | resumed)
    for path in tmp_path.glob("*/last.safetensors"):
        path.unlink()  # of the largest a third of a gigabyte

    done = run("eval", tmp_path / "whole/weights.safetensors", data / "small", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["slices"] == 2


def test_a_name_that_is_not_known_is_refused_with_one_that_is(data: Path, tmp_path: Path) -> None:
    done = run("--config", data / "tiny.toml", "--data", data, "--network", "unet+", "-o", tmp_path / "run")
    assert done.exit_code != 0
    assert "there is no network 'unet+'; did you mean 'unet++'?" in str(done.exception)
