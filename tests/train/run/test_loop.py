"""The loop: repeatable, and resumable to the same bits after an error and after a kill at any moment."""

import csv
import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from infnet_runtime.errors import InfnetError, ModelError
from infnet_train.config.schema import TrainConfig
from infnet_train.data.source import SourceConfig
from infnet_train.networks import InfNet
from infnet_train.run.loop import train
from infnet_train.run.state import read_losses
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, read_state, write_checkpoint
from train_config import SMALL, changed
from train_slices import write_slice

STEPS = 8  # of SMALL: 2 epochs x 2 batches x 2 sizes
# A checkpoint after every step, and a line when a step is done and its checkpoint is about to be written; it
# goes no further than the step given.
KILLED = """
import sys
from pathlib import Path
import torch
from small_network import NAME, register
from train_config import SMALL, changed
from infnet_train.run.loop import train
torch.set_num_threads(1)
register()
data, out = map(Path, sys.argv[1:3])

def report(step, *_):
    print(step, flush=True)
    if step == int(sys.argv[3]):
        sys.stdin.read()  # until it is killed

train(changed(SMALL, network=NAME), data, out, checkpoint_seconds=0, progress=report)
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(6):
        write_slice(root / "small", f"s{i}", seed=i)
    return root


@pytest.fixture(scope="module")
def small(small_network: str) -> TrainConfig:
    return changed(SMALL, network=small_network)


@pytest.fixture(scope="module")
def whole(small: TrainConfig, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run."""
    torch.set_num_threads(1)
    return train(small, data, tmp_path_factory.mktemp("runs") / "whole").parent


def equal(one: Path, other: Path) -> bool:
    a, b = (read_checkpoint(run / "weights.safetensors").group("weights") for run in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_same_seed_same_weights(small: TrainConfig, data: Path, whole: Path, tmp_path: Path) -> None:
    train(small, data, tmp_path / "again", cache=tmp_path / "cache")
    assert equal(whole, tmp_path / "again")
    train(changed(small, seed=1), data, tmp_path / "other", cache=tmp_path / "cache")
    assert not equal(whole, tmp_path / "other")
    assert (whole / "curves.csv").read_bytes() == (tmp_path / "again" / "curves.csv").read_bytes()
    rows = list(csv.DictReader((whole / "curves.csv").read_text().splitlines()))
    assert [(r["epoch"], r["step"]) for r in rows] == [("1", "4"), ("2", "8")]
    assert all(float(r["loss"]) > 0 and 0 <= float(r["validation_dice"]) <= 1 for r in rows)


def test_resume_after_an_error_is_exact(small: TrainConfig, data: Path, whole: Path, tmp_path: Path) -> None:
    stopped_and_resumed(small, data, whole, tmp_path, steps=STEPS)


@pytest.mark.slow
def test_inf_net_resumes_exactly(data: Path, tmp_path: Path) -> None:
    """Half the steps: one size."""
    config = changed(SMALL, sizes=(32,))
    whole = train(config, data, tmp_path / "whole").parent
    stopped_and_resumed(config, data, whole, tmp_path / "stopped", steps=STEPS // 2)


@pytest.mark.slow
def test_inf_net_trains_where_one_slice_is_left_over_at_the_smallest_size(data: Path, tmp_path: Path) -> None:
    """Of 32 pixels its deepest maps have one, which batch normalisation of a single slice refuses."""
    folders = tuple(SourceConfig(name=f"{n}", folder="small", draws=draws) for n, draws in enumerate((2, 1)))
    config = changed(SMALL, sources=folders, validation=None, sizes=(32,), batch_size=2, epochs=1)
    assert train(config, data, tmp_path / "run").is_file()


@pytest.mark.slow
def test_a_run_keeps_the_name_of_the_backbone_it_began_with(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = tmp_path / "backbone.safetensors"
    weights = {f"weights/{name}": tensor for name, tensor in InfNet().state_dict().items()}
    write_checkpoint(backbone, Checkpoint(weights, {}))
    config = changed(SMALL, sizes=(32,), validation=None)
    expected = f"backbone.safetensors, SHA-256 {hashlib.sha256(backbone.read_bytes()).hexdigest()}"

    def stop_in_second_epoch(step: int, total: int, _text: str) -> None:
        if step > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "run", backbone_weights=backbone, progress=stop_in_second_epoch)
    assert read_state(tmp_path / "run" / "last.safetensors")["how"]["backbone"] == expected
    done = train(config, data, tmp_path / "run", resume=True)
    assert read_state(done)["how"]["backbone"] == expected
    assert "not as at the start" not in caplog.text


def stopped_and_resumed(config: TrainConfig, data: Path, whole: Path, out: Path, *, steps: int) -> None:
    """Stop in the second of two epochs, go on, and compare with the run that went through."""

    def stop_in_second_epoch(step: int, total: int, _text: str) -> None:
        assert total == steps
        if step == steps * 3 // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, out, progress=stop_in_second_epoch)
    assert read_checkpoint(out / "last.safetensors").state["step"] == steps // 2
    with pytest.raises(ModelError, match=r"INF-4004.*another configuration: learning_rate was 0.0001 and"):
        train(changed(config, learning_rate=1e-3), data, out, resume=True)
    train(config, data, out, resume=True)
    assert equal(whole, out)
    assert (whole / "curves.csv").read_bytes() == (out / "curves.csv").read_bytes()


@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_resumes_to_the_same_weights(
    small: TrainConfig, data: Path, whole: Path, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"random moment from seed {seed}")  # noqa: T201 - shown when the test fails
    moment = random.Random(seed)
    steps = moment.randrange(2, STEPS - 1)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(data), str(tmp_path), str(steps + 1)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    times = []
    for _ in range(steps):
        assert process.stdout.readline()
        times.append(time.monotonic())
    # Somewhere in writing this checkpoint, in the next step, or in the validation.
    time.sleep(moment.uniform(0, times[-1] - times[-2]))
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert not (tmp_path / "weights.safetensors").exists()
    assert read_checkpoint(tmp_path / "last.safetensors").state["step"] >= steps - 1
    train(small, data, tmp_path, resume=True)
    assert equal(whole, tmp_path)
    assert (whole / "curves.csv").read_bytes() == (tmp_path / "curves.csv").read_bytes()


def test_weights_to_start_from_make_a_difference(
    small: TrainConfig, data: Path, whole: Path, tmp_path: Path
) -> None:
    one_epoch = changed(small, epochs=1, sizes=(32,))
    started = changed(one_epoch, init_from=str(whole / "weights.safetensors"))
    train(one_epoch, data, tmp_path / "random")
    train(started, data, tmp_path / "started")
    losses = [float((tmp_path / r / "curves.csv").read_text().split(",")[-2]) for r in ("random", "started")]
    assert losses[1] < losses[0]


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
    assert {k.exit_code for k in kinds} == {1, 3, 4, 5, 7, 8, 9}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(value: float) -> None:
    losses = [torch.tensor(1.0), torch.tensor(value), torch.tensor(2.0)]
    run = SimpleNamespace(unread=losses, step=9, epoch_losses=[])
    with pytest.raises(ModelError, match=rf"INF-4005\] the loss became {value} at step 8; lower"):
        read_losses(run)  # type: ignore[arg-type]  # what it reads of a run
