"""How fast a run trains, and how long it waits for its batches."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infnet_runtime.io.atomic import atomic_write

# Left out: the first steps of a process choose algorithms and compile.
_WARM_UP_STEPS = 10


@dataclass
class Speed:
    """Sums over the steps of this process, without the first ones."""

    slices: int = 0
    steps: int = 0
    step_s: float = 0.0
    waiting_s: float = 0.0
    _seen: int = field(default=0, init=False)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch."""
        before = time.perf_counter()
        yield
        if self._seen >= _WARM_UP_STEPS:
            self.waiting_s += time.perf_counter() - before

    @contextmanager
    def step(self, slices: int) -> Iterator[None]:
        """Around a step, without the wait."""
        before = time.perf_counter()
        yield
        if self._seen >= _WARM_UP_STEPS:
            self.step_s += time.perf_counter() - before
            self.slices += slices
            self.steps += 1
        self._seen += 1

    @property
    def slices_per_s(self) -> float:
        """Slices trained in a second, waits included, validation and files not; 0 before it is known."""
        total = self.step_s + self.waiting_s
        return self.slices / total if total else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of that time in which the device had no batch to work on."""
        total = self.step_s + self.waiting_s
        return self.waiting_s / total if total else 0.0

    def write(self, path: Path) -> None:
        """Write the numbers as JSON.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        values = {
            "schema": "infnet.speed/1",
            "slices": self.slices,
            "steps": self.steps,
            "slices_per_s": round(self.slices_per_s, 2),
            "waiting_share": round(self.waiting_share, 4),
        }
        with atomic_write(path) as file:
            file.write(json.dumps(values, indent=2).encode())
