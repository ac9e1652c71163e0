"""Time budgets: the schedule follows the share of the time, and the end keeps it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from infnet_train.config.steps import Schedule
from infnet_train.run.budget import TimeBudget
from infnet_train.run.clock import Clock
from infnet_train.run.loop import train
from infnet_train.run.optimiser import rate_at_share
from infnet_train.weights.checkpoint import read_checkpoint
from train_config import SMALL, changed

COSINE = Schedule(epochs=4, learning_rate=1.0, lr_schedule="cosine", warmup_steps=2)


@dataclass
class Hand:
    """A clock that goes when it is pushed."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Run:
    step: int = 0
    share: float = 0.0


def test_the_rate_follows_the_share_of_the_time() -> None:
    assert rate_at_share(COSINE, 0, 0.0) == pytest.approx(0.5)  # rising
    assert rate_at_share(COSINE, 50, 0.5) == pytest.approx(0.5)
    assert rate_at_share(COSINE, 50, 1.0) == pytest.approx(0.0)
    step = Schedule(epochs=10, learning_rate=1.0, lr_schedule="step", lr_step=5)
    assert [rate_at_share(step, 0, share) for share in (0.0, 0.39, 0.41, 1.0)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.01]
    )


def test_a_budget_keeps_time_for_the_end() -> None:
    hand = Hand()
    budget = TimeBudget(100.0, clock=hand)
    assert budget.share == 0
    hand.seconds = 45.0
    assert budget.share == pytest.approx(0.5)  # of what is left beside the reserve
    assert (TimeBudget(20.0).reserve_s, TimeBudget(1000.0).reserve_s) == (5, 40)
    budget.note_end(10.0)
    assert budget.reserve_s == 20
    budget.note_step(2.0)
    hand.seconds = 77.9
    assert not budget.is_over
    hand.seconds = 78.0
    assert budget.is_over
    hand.seconds = 200.0
    assert budget.share == 1


def test_a_clock_with_a_budget_looks_ten_times_and_goes_on_where_an_earlier_call_ended() -> None:
    hand, run = Hand(), Run()
    clock = Clock(COSINE, 5, TimeBudget(100.0, clock=hand), run)
    looks = []
    while not clock.is_over:
        with clock.step():
            hand.seconds += 1.0
            run.step += 1
        if clock.ends_epoch():
            looks.append(run.step)
            with clock.end():
                pass
    assert len(looks) == 10
    assert looks[-1] == run.step
    assert run.share == pytest.approx(1, abs=0.05)
    later = Run(step=40, share=0.4)
    hand.seconds = 0.0
    clock = Clock(COSINE, 5, TimeBudget(100.0, clock=hand), later)
    assert clock.learning_rate == pytest.approx(rate_at_share(COSINE, 40, 0.4))
    hand.seconds = 45.0
    with clock.step():
        pass
    assert later.share == pytest.approx(0.7)


def test_without_a_budget_epochs_count() -> None:
    run = Run()
    clock = Clock(COSINE, 3, None, run)
    ends = []
    while not clock.is_over:
        run.step += 1
        if clock.ends_epoch():
            ends.append((run.step, clock.epoch))
    assert ends == [(3, 1), (6, 2), (9, 3), (12, 4)]
    assert clock.done_of_total == (12, 12)


LONG = changed(SMALL, epochs=100_000, lr_schedule="cosine")  # never done without a budget


@pytest.mark.slow
def test_a_run_keeps_its_time_and_leaves_weights_and_a_checkpoint(slices: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    budget_s = 60.0  # half of it is enough where nothing else runs
    began = time.monotonic()
    weights = train(LONG, slices, tmp_path, budget_s=budget_s, augment_on_device=True)
    took_s = time.monotonic() - began
    assert took_s < budget_s
    checkpoint = read_checkpoint(tmp_path / "last.safetensors")
    assert weights.is_file()
    assert checkpoint.state["share"] > 0.2  # the rest is kept for the end, which is long here
    assert checkpoint.state["history"]
    assert json.loads((tmp_path / "speed.json").read_text())["schema"] == "infnet.speed/1"
