"""The mean of two trainings of one network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from infnet_runtime.errors import ModelError
from infnet_train.cli.main import app
from infnet_train.weights.average import average_weights
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def written(path: Path, name: str, **weights: Tensor) -> Path:
    tensors = {f"weights/{part}": tensor for part, tensor in weights.items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"name": name}}))
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = written(
        tmp_path / "a.safetensors",
        "second training",
        kernel=torch.tensor([1.0, 3.0]),
        count=torch.tensor(7),
        head=torch.tensor([5.0]),
    )
    second = written(
        tmp_path / "b.safetensors", "first training", kernel=torch.tensor([2.0, -1.0]), count=torch.tensor(3)
    )
    return first, second


def test_the_mean_by_hand(two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    done = CliRunner().invoke(app, ["average", *map(str, two), "-o", str(out), "--share", "0.75"])
    assert done.exit_code == 0, done.output
    mean = read_checkpoint(out)
    assert mean.tensors["weights/kernel"].tolist() == [1.25, 2.0]
    assert mean.tensors["weights/count"].item() == 7
    assert mean.tensors["weights/head"].tolist() == [5.0]
    assert mean.state["config"] == {"name": "second training"}
    assert mean.state["averaged"]["share"] == 0.75


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_cannot_be(two: tuple[Path, Path], tmp_path: Path, share: float) -> None:
    with pytest.raises(ModelError, match=r"INF-4144.*expected one above 0 and below 1"):
        average_weights(*two, tmp_path / "mean.safetensors", share=share)
    assert not (tmp_path / "mean.safetensors").exists()


def test_two_networks_have_no_mean(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two
    other = written(tmp_path / "c.safetensors", "other", kernel=torch.zeros(3))
    for pair in ((first, other), (second, first)):
        with pytest.raises(ModelError, match=r"INF-4145.*expected two trainings of one network"):
            average_weights(*pair, tmp_path / "mean.safetensors")


def test_nothing_is_replaced(two: tuple[Path, Path]) -> None:
    before = two[0].read_bytes()
    done = CliRunner().invoke(app, ["average", *map(str, two), "-o", str(two[0])])
    assert done.exit_code != 0
    assert two[0].read_bytes() == before
