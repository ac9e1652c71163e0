"""Checkpoints of this project and of the authors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from infnet_export.network.exportable import read_trained
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.reference import reference_name
from infnet_train.weights.trained import TrainedNetwork
from twin import SIZE

pytestmark = pytest.mark.slow  # Inf-Net is built or written again and again


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_trained(path)
    assert caught.value.exit_code == 4
    return caught.value


def weights(trained: TrainedNetwork) -> dict[str, Tensor]:
    return {f"weights/{k}": v for k, v in trained.network.state_dict().items()}


def test_checkpoint(checkpoint: Path, trained: TrainedNetwork) -> None:
    read = read_trained(checkpoint)
    assert read.preprocess == PreprocessSpec(size=SIZE)
    assert read.weights_sha256 == trained.weights_sha256
    assert not read.network.training


def test_authors_layout_has_the_same_hash(trained: TrainedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "Inf-Net-100.pth"
    state = trained.network.state_dict()
    torch.save({reference_name(k): v for k, v in state.items() if "num_batches" not in k}, path)
    read = read_trained(path)
    assert read.preprocess == PreprocessSpec()
    assert read.weights_sha256 == trained.weights_sha256


def test_hash_changes_with_a_weight(trained: TrainedNetwork, checkpoint: Path) -> None:
    other = read_trained(checkpoint)
    with torch.no_grad():
        other.network.partial_decoder.conv5.bias.add_(1e-3)  # type: ignore[union-attr]  # it has a bias
    assert other.weights_sha256 != trained.weights_sha256


def test_missing_and_damaged(checkpoint: Path, tmp_path: Path) -> None:
    missing = refused(tmp_path / "none.safetensors")
    assert str(missing) == f"[INF-4001] no checkpoint at {tmp_path / 'none.safetensors'}"
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(checkpoint.read_bytes()[:100_000])
    assert refused(damaged).code == 4002
    assert "is damaged" in str(refused(damaged))
    assert refused(tmp_path / "none.pth").code == 4001


def test_run_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, Checkpoint({"model/x": torch.zeros(1)}, {}))
    error = refused(path)
    assert error.code == 4101
    assert "holds no weights to export, only a run to resume; give weights.safetensors" in str(error)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "KeyError: 'config'"),
        ({"config": {"preprocess": {"windows": [0, 1]}}}, "unexpected keyword argument 'windows'"),
        ({"config": {"preprocess": {"size": 350}}}, "input size is 350, expected a multiple of 32"),
    ],
)
def test_unusable_preprocessing(
    trained: TrainedNetwork, tmp_path: Path, state: dict[str, object], reason: str
) -> None:
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint(weights(trained), state))
    error = refused(path)
    assert error.code == 4102
    assert "does not say how its training slices were prepared" in str(error)
    assert reason in str(error)


def test_diverged_weights(trained: TrainedNetwork, tmp_path: Path) -> None:
    tensors = weights(trained)
    name = "partial_decoder.conv5.bias"
    tensors[f"weights/{name}"] = torch.tensor([float("nan")])
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": {}}}))
    error = refused(path)
    assert error.code == 4103
    assert f"not finite in 1 entries, e.g. {name}; the training diverged" in str(error)
