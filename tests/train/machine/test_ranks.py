"""Several processes train as one: the same statistics, gradients, losses and weights as a single process."""

import csv
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import distributed

from infnet_runtime.errors import BackendError
from infnet_train.machine.ranks import Ranks, join
from infnet_train.networks import build_network
from infnet_train.networks.losses import total_loss
from infnet_train.run.loop import train
from infnet_train.weights.checkpoint import read_checkpoint
from rank_work import (
    CONFIG,
    SPLITS,
    TOTALS,
    classes_config,
    network_inputs,
    normalisation,
    normalisation_inputs,
)
from train_config import changed, train_config
from train_slices import add_classes
from two_ranks import LIMIT_S, start_two, torchrun_two

# Double precision: sums in another order differ in the last digits, through 157 normalisations in some more.
EXACT = {"rtol": 1e-9, "atol": 1e-11}
# Of the length of the whole gradient. One slice leaves four values for the deepest normalisations: the loss
# then differs by 3e-11 of itself, and the gradient by more.
GRADIENT_RTOL = 1e-5
# Single precision, the small network: 2e-7 of the loss and 4e-6 of the way of the weights were seen. Inf-Net
# amplifies rounding too much for that; its gradients are compared in double precision.
LOSS_RTOL = 1e-5
WEIGHT_CHANGE = 1e-3  # mean difference of the weights, as a fraction of how far training moved them


def curve(run: Path, column: str = "loss") -> list[float]:
    return [float(row[column]) for row in csv.DictReader((run / "curves.csv").read_text().splitlines())]


def weights(run: Path) -> torch.Tensor:
    return flat_weights(read_checkpoint(run / "last.safetensors").group("model"))


def flat_weights(state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([v.flatten() for k, v in sorted(state.items()) if k.endswith("weight")])


@pytest.mark.slow
def test_statistics_and_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    for process in start_two("save_computed", tmp_path):
        _, errors = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, errors
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]

    layer = normalisation()
    values, gradient = normalisation_inputs()
    values.requires_grad_()
    output = layer(values)
    (output * gradient).sum().backward()
    evaluated = layer.eval()(values)
    for split in SPLITS:
        for name, expected in (("output", output), ("input", values.grad), ("evaluated", evaluated)):
            joined = torch.cat([f[f"{split} {name}"] for f in found])
            torch.testing.assert_close(joined, expected.detach(), **EXACT)  # type: ignore[union-attr]
        for name, parameter in layer.named_parameters():
            joined = sum(f[f"{split} {name} gradient"] for f in found)
            torch.testing.assert_close(joined, parameter.grad, **EXACT)
        for name, buffer in layer.named_buffers():
            for rank in found:
                torch.testing.assert_close(rank[f"{split} {name}"], buffer, **EXACT)

    for name, total in TOTALS:
        network, images, masks = network_inputs(name, total)
        total_loss(network(images), masks, masks).backward()  # type: ignore[no-untyped-call]
        gradients = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
        differences = [(found[0][f"{name} {total} {k}"] - g).norm() for k, g in gradients.items()]
        size = torch.stack([g.norm() for g in gradients.values()]).norm()
        assert torch.stack(differences).norm() < GRADIENT_RTOL * size, (name, total)


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one_and_join_again_and_again(
    slices: Path, small_network: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    config = train_config(**CONFIG)
    assert config.architecture.network == small_network

    def note_first_epoch(step: int, _total: int, _text: str) -> None:
        if step == 3:  # the checkpoint of the first epoch, two steps long, is there
            shutil.copytree(tmp_path / "one", tmp_path / "begun")

    train(config, slices, tmp_path / "one", progress=note_first_epoch)
    torchrun_two("train_and_resume", slices, tmp_path / "two", tmp_path / "begun", tmp_path / "cache")
    expected = curve(tmp_path / "one")
    assert len(expected) == 2
    torch.manual_seed(config.batching.seed)
    start = flat_weights(build_network(config.architecture).state_dict())
    moved = (weights(tmp_path / "one") - start).abs().mean()
    for run in ("two", "begun"):
        assert curve(tmp_path / run) == pytest.approx(expected, rel=LOSS_RTOL), run
        assert len(list((tmp_path / run / "tensorboard").iterdir())) == (1 if run == "two" else 2)
        difference = (weights(tmp_path / run) - weights(tmp_path / "one")).abs().mean()
        assert difference < WEIGHT_CHANGE * moved, run
    assert list((tmp_path / "cache").glob("*.npy"))
    train(changed(config, seed=1), slices, tmp_path / "other")
    assert curve(tmp_path / "other") != pytest.approx(expected, rel=LOSS_RTOL)


@pytest.mark.slow
def test_two_processes_give_slices_the_priors_of_one(
    slices: Path, small_network: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    add_classes(slices / "small")
    first = changed(train_config(**CONFIG), epochs=1, network=small_network)
    infection = train(first, slices, tmp_path / "infection")
    train(train_config(**classes_config(str(infection))), slices, tmp_path / "one")
    torchrun_two("train_classes", slices, tmp_path / "two", infection)
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "one"), rel=LOSS_RTOL)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_and_leaves_whole_files(slices: Path, tmp_path: Path) -> None:
    first, second = start_two("train_and_report", slices, tmp_path / "run")
    try:
        assert first.stdout
        assert first.stdout.readline() == "step 1\n"
        second.send_signal(signal.SIGKILL)
        second.wait(LIMIT_S)
        first.communicate("go on\n", timeout=LIMIT_S)
        assert first.returncode not in (0, None)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert read_checkpoint(tmp_path / "run" / "last.safetensors").state["step"] >= 1
    assert not list((tmp_path / "run").glob(".infnet-*"))
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("slices", [0, 1, 2, 7, 8, 16])
def test_shares_are_even_and_complete(count: int, slices: int) -> None:
    shares = [Ranks(rank, count).share(slices) for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(slices))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares[0]) > 0 or not slices


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join("cuda:1") as ranks:
        assert ranks == Ranks(0, 1, "cuda:1")
        assert ranks.is_first


def test_what_the_launcher_has_not_said_and_one_gpu_for_all_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendError, match="WORLD_SIZE is 2, but RANK, .* are not set; start"), join("cpu"):
        pass
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(BackendError, match="'cuda:1' was asked for by each of 2 processes"), join("cuda:1"):
        pass


def test_a_stage_on_another_kind_of_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: "nccl")
    with (
        pytest.raises(BackendError, match="met through nccl.* needs gloo") as found,
        join("cpu"),
    ):
        pass
    assert found.value.code == 5002
