"""A time that a run has to keep: how much of it is over, and whether another step fits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# What must fit after the last step, as a share of the time, before it was measured: a validation, two files.
_FIRST_RESERVE = 0.04
_LEAST_RESERVE_S, _MOST_RESERVE = 10.0, 0.25
# An end is a validation and a checkpoint, and after the last one come the weights: about half as long again.
_MARGIN = 2.0


@dataclass
class TimeBudget:
    """A time from now on.

    Parameters
    ----------
    seconds : s
        From the making of this object to the end of the run, its files included.
    clock
        Gives seconds that only rise.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _longest_end: float | None = field(init=False, default=None)
    _longest_step: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds that are over."""
        return self.clock() - self._started

    @property
    def reserve_s(self) -> float:
        """Seconds that stay for the end of the run: more than the longest validation so far."""
        if self._longest_end is None:
            least_s = min(_LEAST_RESERVE_S, _MOST_RESERVE * self.seconds)
            return max(_FIRST_RESERVE * self.seconds, least_s)
        return _MARGIN * self._longest_end

    @property
    def share(self) -> float:
        """How much of the time for steps is over, 0 to 1."""
        return min(self.elapsed_s / max(self.seconds - self.reserve_s, 1e-9), 1.0)

    @property
    def is_over(self) -> bool:
        """Whether no further step fits."""
        return self.elapsed_s + self._longest_step + self.reserve_s >= self.seconds

    def note_step(self, took_s: float) -> None:
        """Remember how long a step took."""
        self._longest_step = max(self._longest_step, took_s)

    def note_end(self, took_s: float) -> None:
        """Remember how long a validation with its files took."""
        self._longest_end = max(self._longest_end or 0.0, took_s)
