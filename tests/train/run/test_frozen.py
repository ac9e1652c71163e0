"""A run that trains some parts of a network."""

from pathlib import Path

import pytest
import torch

from infnet_train.errors import ConfigError
from infnet_train.run.loop import train
from infnet_train.weights.checkpoint import read_checkpoint
from train_config import SMALL, changed


def test_what_is_not_trained_keeps_weights_and_statistics(slices: Path, tmp_path: Path) -> None:
    config = changed(SMALL, validation=None, ema=0.0)
    start = read_checkpoint(train(changed(config, epochs=1), slices, tmp_path / "start"))
    part = changed(
        config, init_from=str(tmp_path / "start/weights.safetensors"), train_only=("reverse_attention3",)
    )
    after = read_checkpoint(train(part, slices, tmp_path / "part"))
    moved = {
        name.split("/")[1].split(".")[0]
        for name, tensor in start.tensors.items()
        if not torch.equal(tensor, after.tensors[name])
    }
    assert moved == {"reverse_attention3"}
    statistics = "weights/reverse_attention3.out.bn.running_mean"
    assert not torch.equal(start.tensors[statistics], after.tensors[statistics])


def test_a_part_that_there_is_not_is_refused(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'head', the network has backbone") as refused:
        train(changed(SMALL, train_only=("head",)), slices, tmp_path / "run")
    assert refused.value.code == 3101
