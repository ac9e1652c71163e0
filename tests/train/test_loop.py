"""The loop: repeatable, resumable after a kill, and its schedule as the original code runs it."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from infnet_runtime.errors import InfnetError, ModelError
from infnet_train.augment import augment
from infnet_train.checkpoint import read_checkpoint
from infnet_train.config import AugmentConfig, SourceConfig, TrainConfig
from infnet_train.datasets import load_source
from infnet_train.loop import learning_rate, train

SMALL = TrainConfig(
    name="small",
    sources=(SourceConfig(name="small", folder="small"),),
    validation=SourceConfig(name="small", folder="small", names=("s0", "s1")),
    augment=AugmentConfig(mirror=0.5, rotation_deg=10, scale=0.1, gamma=0.2, noise=0.05, blur=1.0),
    epochs=2,
    batch_size=3,
    sizes=(64, 32),
    ema=0.9,
)
STEPS = 8  # 2 epochs x 2 batches x 2 sizes
RECIPE = """
name = "small"
epochs = 2
batch_size = 3
sizes = [64, 32]
ema = 0.9
[augment]
mirror = 0.5
rotation_deg = 10
scale = 0.1
gamma = 0.2
noise = 0.05
blur = 1.0
[[sources]]
name = "small"
folder = "small"
[validation]
name = "small"
folder = "small"
names = ["s0", "s1"]
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).group("weights")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_same_seed_same_weights_and_resume_after_an_error_is_exact(slices: Path, tmp_path: Path) -> None:
    first = train(SMALL, slices, tmp_path / "a")
    assert equal(first, train(SMALL, slices, tmp_path / "b"))
    other_seed = dataclasses.replace(SMALL, seed=1)
    assert not equal(first, train(other_seed, slices, tmp_path / "c"))

    def stop_in_second_epoch(step: int, total: int, _text: str) -> None:
        assert total == STEPS
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, slices, tmp_path / "d", progress=stop_in_second_epoch)
    assert read_checkpoint(tmp_path / "d" / "last.safetensors").state["step"] == 4
    assert equal(first, train(SMALL, slices, tmp_path / "d", resume=True))
    assert (tmp_path / "a" / "curves.csv").read_bytes() == (tmp_path / "d" / "curves.csv").read_bytes()
    rows = list(csv.DictReader((tmp_path / "a" / "curves.csv").read_text().splitlines()))
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert all(float(r["loss"]) > 0 and 0 <= float(r["validation_dice"]) <= 1 for r in rows)

    with pytest.raises(ModelError, match=r"another configuration \(learning_rate differ\)"):
        train(dataclasses.replace(SMALL, learning_rate=1e-3), slices, tmp_path / "d", resume=True)
    started = dataclasses.replace(SMALL, init_from=str(first), epochs=1)
    assert not equal(first, train(started, slices, tmp_path / "e"))


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(slices: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "infnet_train.cli", "--config", str(recipe), "--data", str(slices)]
    command += ["--threads", "1", "--device", "cpu", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, str(tmp_path / "killed"), "--resume"], check=True, capture_output=True)
    assert equal(tmp_path / "whole" / "weights.safetensors", tmp_path / "killed" / "weights.safetensors")


def test_compounding_decay_stops_training_at_epoch_52() -> None:
    faithful = dataclasses.replace(SMALL, epochs=99)
    rates = {e: learning_rate(faithful, e, 0, 1) for e in (1, 49, 50, 51, 52, 60, 99)}
    expected = {1: 1e-4, 49: 1e-4, 50: 1e-5, 51: 1e-6, 52: 1e-7, 60: 1e-15, 99: 1e-54}
    assert rates == pytest.approx(expected, rel=1e-9)


def test_other_schedules() -> None:
    step = dataclasses.replace(SMALL, lr_schedule="step")
    assert [learning_rate(step, e, 0, 1) for e in (49, 50, 99)] == pytest.approx([1e-4, 1e-5, 1e-5])
    cosine = dataclasses.replace(SMALL, lr_schedule="cosine", warmup_steps=10)
    rates = [learning_rate(cosine, 1, s, 110) for s in (0, 9, 10, 60, 110)]
    assert rates == pytest.approx([1e-5, 1e-4, 1e-4, 5e-5, 0], abs=1e-12)
    assert learning_rate(dataclasses.replace(SMALL, lr_schedule="constant"), 80, 9, 10) == 1e-4


def test_augmentation_moves_mask_and_image_together(slices: Path) -> None:
    import numpy as np

    data = load_source(slices, SMALL.sources[0], 96)
    config = AugmentConfig(mirror=0.5, rotation_deg=15, shift=0.05, scale=0.2, aspect=0.1)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        grey, mask, _ = augment(data.images[0], data.masks[0], data.edges[0], config, rng)
        assert grey[mask > 0.9].mean() * 255 == pytest.approx(140, abs=5)


def test_no_augmentation_changes_nothing(slices: Path) -> None:
    import numpy as np

    data = load_source(slices, SMALL.sources[0], 64)
    rng = np.random.default_rng(0)
    grey, mask, edge = augment(data.images[0], data.masks[0], data.edges[0], AugmentConfig(), rng)
    for found, given in ((grey, data.images[0]), (mask, data.masks[0]), (edge, data.edges[0])):
        assert np.array_equal(np.rint(found * 255), given)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(ModelError, match="no checkpoint at"):
        read_checkpoint(path)
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 garbage")
    with pytest.raises(ModelError, match="is no safetensors file or is damaged"):
        read_checkpoint(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="is marked 'None', expected"):
        read_checkpoint(path)


def test_every_refusal_has_an_exit_code() -> None:
    kinds = [InfnetError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {k.exit_code for k in kinds} == {1, 3, 4, 5, 7, 8}
