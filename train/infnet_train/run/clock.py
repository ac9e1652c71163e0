"""When a run ends, how fast it learns until then, and when it validates: by its epochs, or by a time."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from infnet_train.config.steps import Schedule
from infnet_train.run.budget import TimeBudget
from infnet_train.run.optimiser import learning_rate, rate_at_share

_LOOKS = 10  # of a run with a time budget at itself


class Position(Protocol):
    """Where a run is: steps done, and the share of its time budgets that is over."""

    step: int
    share: float


class Clock:
    """When a run ends, how fast it learns until then, and when it looks at itself.

    Without a time budget that is the recipe's: so many epochs, a look after each. With one the share of the
    time that is over stands for the share of the epochs, and there are ten looks.

    Parameters
    ----------
    per_epoch
        Steps of an epoch.
    run
        Its share is kept up to date.
    """

    def __init__(self, schedule: Schedule, per_epoch: int, budget: TimeBudget | None, run: Position) -> None:
        self._schedule, self._per_epoch, self._budget, self._run = schedule, per_epoch, budget, run
        self._total = per_epoch * schedule.epochs
        self._share_before = run.share  # of an earlier call
        self._looks_done = int(_LOOKS * run.share)

    @property
    def epochs(self) -> int:
        """How many there are at most."""
        return self._schedule.epochs if self._budget is None else sys.maxsize

    @property
    def is_over(self) -> bool:
        """Whether the run has come to its end."""
        if self._budget is None:
            return self._run.step >= self._total
        return self._budget.is_over

    @property
    def epoch(self) -> int:
        """Of the step done last, counted from 1."""
        return max(math.ceil(self._run.step / self._per_epoch), 1)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        step = self._run.step
        if self._budget is None:
            return learning_rate(self._schedule, step // self._per_epoch + 1, step, self._total)
        return rate_at_share(self._schedule, step, self._share)

    @property
    def done_of_total(self) -> tuple[int, int]:
        """Steps; with a time budget the steps that fit into it at the speed so far."""
        if self._budget is None:
            return self._run.step, self._total
        return self._run.step, max(round(self._run.step / max(self._share, 1e-6)), self._run.step)

    def ends_epoch(self) -> bool:
        """Whether to validate and write now; to be asked once after each step, for it counts the looks."""
        if self._budget is None:
            return self._run.step % self._per_epoch == 0
        looks = int(_LOOKS * self._share)
        is_due = looks > self._looks_done or self._budget.is_over
        self._looks_done = looks
        return is_due

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a step."""
        before = time.monotonic()
        yield
        if self._budget is not None:
            self._budget.note_step(time.monotonic() - before)
            self._run.share = self._share

    @contextmanager
    def end(self) -> Iterator[None]:
        """Around a validation with its files."""
        before = time.monotonic()
        yield
        if self._budget is not None:
            self._budget.note_end(time.monotonic() - before)

    @property
    def _share(self) -> float:
        assert self._budget is not None
        return self._share_before + (1 - self._share_before) * self._budget.share
