"""What a training says on stderr: its log, how far it is, and what to do when it is done."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TextIO

_FIRST_S, _BETWEEN_S = 10.0, 30.0  # lines where there is no terminal


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the moment: a bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


def log_to_stderr() -> None:
    """Show the log with the time of each line."""
    layout = logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    handler = _Stderr()
    handler.setFormatter(layout)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Progress:
    """A bar with the time left on a terminal, a line with it now and then elsewhere.

    Parameters
    ----------
    clock
        Gives seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def __enter__(self) -> Self:
        """Draw an empty bar."""
        from rich.console import Console
        from rich.progress import Progress as Bar

        from infnet_train.run.eta import Eta

        self._bar = Bar(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._bar.start()
        self._task = self._bar.add_task("training", total=None)
        self._eta, self._next_line = Eta(self._clock), self._clock() + _FIRST_S
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Move the bar, or write a line."""
        self._bar.update(self._task, completed=done, total=total, description=text)
        left_s = self._eta.left_s(done, total)
        if sys.stderr.isatty() or self._clock() < self._next_line:
            return
        from infnet_train.run.eta import in_words

        self._next_line = self._clock() + _BETWEEN_S
        left = "" if left_s is None else f", {in_words(left_s)} left"
        logging.getLogger(__name__).info("step %d of %d, %s%s", done, total, text, left)


def what_to_do_next(weights: Path) -> str:
    """Where the weights of a finished run are, and the commands that come next.

    Parameters
    ----------
    weights
        ``weights.safetensors`` of a run.
    """
    from infnet_train.run.curves import best_epoch
    from infnet_train.weights.checkpoint import read_state

    history = read_state(weights).get("history", [])
    lines = [f"weights of the last epoch: {weights}"]
    best = best_epoch(history)
    if best is not None:
        file = weights.with_name("best.safetensors")
        lines.append(
            f"best epoch: {best['epoch']:.0f}, validation Dice {best['validation_dice']:.4f}: {file}"
        )
    return "\n".join(
        [
            *lines,
            f"to score them: infnet-train eval {weights} FOLDER_OF_TEST_SLICES",
            f"to use them:   infnet-export {weights} -o model",
            "               infnet-infer SCAN --model model/infnet.onnx",
        ]
    )
