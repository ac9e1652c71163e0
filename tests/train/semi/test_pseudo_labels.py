"""Random propagation: every slice labelled once, resumable, and the same after an interruption."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from infnet_train.config.propagation import PropagationConfig
from infnet_train.data.pictures import as_stored, upright
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.semi.pseudo_labels import propagate
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from small_network import Plain
from train_config import changed, train_config

PROPAGATION = PropagationConfig(
    unlabelled=(
        SourceConfig(name="first", folder="small", names=("s2", "s3", "s4"), turn="transpose"),
        SourceConfig(name="second", folder="small", names=("s5",), turn="transpose_flip"),
    ),
    group_size=2,
    epochs=1,
)
CONFIG = train_config(
    name="small",
    sources=(SourceConfig(name="labelled", folder="small", names=("s0", "s1")),),
    batch_size=4,
    sizes=(32,),
    propagation=PROPAGATION,
)


@pytest.fixture
def start(tmp_path: Path) -> str:
    """Random weights of the small network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = tmp_path / "start.safetensors"
    tensors = {f"weights/{k}": v for k, v in Plain().state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {}))
    return str(path)


def labels(folder: Path) -> dict[str, bytes]:
    return {f"{p.parents[1].name}/{p.name}": p.read_bytes() for p in sorted(folder.glob("*/GT/*.png"))}


def test_all_slices_are_labelled_once_and_an_interruption_changes_nothing(
    slices: Path, tmp_path: Path, start: str, small_network: str
) -> None:
    config = changed(CONFIG, init_from=start, network=small_network)
    whole = propagate(config, slices, tmp_path / "whole")
    assert set(labels(whole)) == {"0/s2.png", "0/s3.png", "0/s4.png", "1/s5.png"}
    for name in labels(whole):
        number, file = name.split("/")
        label = cv2.imread(str(whole / number / "GT" / file), cv2.IMREAD_GRAYSCALE)
        assert label.shape == (70, 90)
        assert (label.min(), label.max()) == (0, 255)  # stretched, as the released code does
    state = json.loads((tmp_path / "whole" / "propagation.json").read_text())
    assert (state["groups_done"], state["weights"]) == (2, "rounds/0001/weights.safetensors")

    def stop_in_second_round(_step: int, _total: int, _text: str) -> None:
        if (tmp_path / "broken" / "propagation.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        propagate(config, slices, tmp_path / "broken", progress=stop_in_second_round)
    assert json.loads((tmp_path / "broken" / "propagation.json").read_text())["groups_done"] == 1
    resumed = propagate(config, slices, tmp_path / "broken")
    assert labels(resumed) == labels(whole)


def test_it_needs_a_network_to_start_from(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a \[propagation\] table"):
        propagate(changed(CONFIG, propagation=None), slices, tmp_path)
    with pytest.raises(ConfigError, match="pseudo-labels need a network to start from"):
        propagate(CONFIG, slices, tmp_path)


def test_one_process_makes_them(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="made by one process, torchrun started 2"):
        propagate(CONFIG, slices, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("turn", ["none", "transpose", "transpose_flip"])
def test_labels_go_back_to_the_orientation_of_the_file(turn: str) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(as_stored(upright(image, turn), turn), image)  # type: ignore[arg-type]
