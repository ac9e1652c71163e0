"""Weights in parts: small files, joined again to what they were but for the rounding to half precision."""

from pathlib import Path

import pytest
import torch

from infnet_runtime.errors import ModelError
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from infnet_train.weights.parts import join_weights, split_weights

HALF = 2**-11  # relative rounding of FP16
STATE = {"config": {"name": "x"}, "step": 7}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tensors = {f"weights/kernel{i}": torch.randn(64, 100) for i in range(5)}
    tensors |= {"weights/norm": torch.randn(64) * 1e6, "weights/count": torch.tensor(12)}
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint(tensors, STATE))
    return path


def test_the_parts_are_small_and_give_the_weights_again(weights: Path, tmp_path: Path) -> None:
    files = split_weights(weights, tmp_path / "parts", part_bytes=30_000)
    assert [f.name for f in files] == [*(f"weights.{i:02d}.safetensors" for i in range(3)), "parts.json"]
    assert all(f.stat().st_size < 31_000 for f in files)
    join_weights(tmp_path / "parts", tmp_path / "again.safetensors")
    before, after = read_checkpoint(weights), read_checkpoint(tmp_path / "again.safetensors")
    assert after.state == STATE
    assert before.tensors.keys() == after.tensors.keys()
    for name, tensor in before.tensors.items():
        assert after.tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(after.tensors[name], tensor, rtol=HALF, atol=1e-7)
    assert torch.equal(after.tensors["weights/norm"], before.tensors["weights/norm"])  # small: as it was


def test_parts_that_are_missing_or_changed(weights: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "parts", tmp_path / "again.safetensors"
    files = split_weights(weights, folder, part_bytes=30_000)
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + b"x")
    with pytest.raises(ModelError, match=r"weights.01.safetensors is not the part that was written"):
        join_weights(folder, out)
    files[1].unlink()
    with pytest.raises(ModelError, match=r"cannot read .*weights.01.safetensors .*; get all parts"):
        join_weights(folder, out)
    files[-1].write_text("{}")
    with pytest.raises(ModelError, match="is not the list of the parts of some weights"):
        join_weights(folder, out)
    with pytest.raises(ModelError, match="cannot read .*parts.json"):
        join_weights(tmp_path, out)
    assert not out.exists()


def test_weights_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint({"weights/kernel": torch.full((100, 100), 1e6)}, STATE))
    with pytest.raises(ModelError, match="weights/kernel has weights too large for half precision"):
        split_weights(path, tmp_path / "parts")
