"""The curves of a run: a line for people after each epoch, a table, and a picture of all of them."""

import csv
import io
import math
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_train.assess.validation import DICE
from infnet_train.networks import CLASSES
from infnet_train.run.eta import in_words

Row = dict[str, float]
"""An epoch: ``epoch``, ``step``, ``learning_rate``, ``loss``, and with a validation its scores."""

_OF_PARTS = {f"{DICE}_{part}": part.replace("_", " ") for part in (*CLASSES, "infection")}
_TITLES = {
    "loss": "loss",
    DICE: "validation Dice",
    **{name: f"validation Dice, {part}" for name, part in _OF_PARTS.items()},
    "learning_rate": "learning rate",
}
_WIDTH, _HEIGHT = 880, 240  # of a panel, pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 40, 40
_INK, _PALE, _LINE, _BEST = (40, 40, 40), (225, 225, 225), (170, 90, 30), (60, 140, 40)  # blue, green, red
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MOST_TICKS = 8


def best_epoch(history: Sequence[Row]) -> Row | None:
    """The first epoch of the best validation; None without one."""
    scored = [row for row in history if DICE in row]
    return max(scored, key=lambda row: row[DICE]) if scored else None


def epoch_line(history: Sequence[Row], *, epochs: int | None, took_s: float, left_s: float | None) -> str:
    """What the last epoch gave.

    Parameters
    ----------
    epochs
        Of the run; None where a time decides.
    took_s, left_s : s
        Of the epoch, and of what is still to come.

    Examples
    --------
    >>> row = {"epoch": 2, "step": 8, "learning_rate": 1e-4, "loss": 1.25, "validation_dice": 0.5}
    >>> epoch_line([row], epochs=9, took_s=42, left_s=9)
    'epoch 2 of 9: loss 1.250, validation Dice 0.5000 (the best), learning rate 0.0001; took 42 s, 9 s left'
    """
    row, best = history[-1], best_epoch(history)
    said = [f"loss {row['loss']:.3f}"]
    if best is not None and DICE in row:
        rank = "the best" if best is row else f"best {best[DICE]:.4f} in epoch {best['epoch']:.0f}"
        said.append(f"validation Dice {row[DICE]:.4f} ({rank})")
    said += [f"{part} {row[name]:.4f}" for name, part in _OF_PARTS.items() if name in row]
    if "learning_rate" in row:
        said.append(f"learning rate {row['learning_rate']:.3g}")
    of_all = "" if epochs is None else f" of {epochs}"
    left = "" if not left_s else f", {in_words(left_s)} left"
    return f"epoch {row['epoch']:.0f}{of_all}: {', '.join(said)}; took {in_words(took_s)}{left}"


def as_csv(history: Sequence[Row]) -> str:
    """All epochs as a table; what an older version did not note is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[-1]), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def as_picture(history: Sequence[Row]) -> ByteArray:
    """All curves, one above the other, with the best epoch.

    Returns
    -------
    (rows, columns, 3), 0..255, colours in the order of OpenCV
    """
    rising = all(a["epoch"] < b["epoch"] for a, b in pairwise(history))
    across = "epoch" if rising else "step"  # a run with a time budget looks more than once in an epoch
    best = best_epoch(history)
    names = [name for name in _TITLES if any(name in row for row in history)]
    return np.concatenate([_panel(history, name, across, best) for name in names])


def _panel(history: Sequence[Row], name: str, across: str, best: Row | None) -> ByteArray:
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    points = [(row[across], row[name]) for row in history if name in row]
    x_ticks = _ticks(min(p[0] for p in points), max(p[0] for p in points), whole=True)
    finite = [y for _, y in points if math.isfinite(y)]
    low, high = (0.0, 1.0) if name.startswith(DICE) else (min([0.0, *finite]), max(finite, default=1.0))
    y_ticks = _ticks(low, high)
    x_range = (points[0][0] - (len(points) == 1), points[-1][0])
    y_range = (min(y_ticks[0], low), max(y_ticks[-1], high))

    def place(x: float, y: float) -> tuple[int, int]:
        right = (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1)
        up = (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1)
        return (
            round(_LEFT + right * (_WIDTH - _LEFT - _RIGHT)),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)),
        )

    for y in y_ticks:
        at = place(x_range[0], y)
        cv2.line(canvas, at, place(x_range[1], y), _PALE, 1)
        _write(canvas, f"{y:g}", (at[0] - 8, at[1] + 4), align=1.0)
    for x in x_ticks:
        at = place(x, y_range[0])
        cv2.line(canvas, at, (at[0], at[1] + 4), _INK, 1)
        _write(canvas, f"{x:g}", (at[0], at[1] + 18), align=0.5)
    _write(canvas, _TITLES[name], (_LEFT, _TOP - 16), size=0.55)
    _write(canvas, across, (_WIDTH - _RIGHT, _HEIGHT - 6), align=1.0)
    if best is not None:
        cv2.line(canvas, place(best[across], y_range[0]), place(best[across], y_range[1]), _BEST, 1)
        if name == DICE:
            text = f"best {best[DICE]:.4f} in epoch {best['epoch']:.0f}"
            _write(canvas, text, (_WIDTH - _RIGHT, _TOP - 16), align=1.0, colour=_BEST)
    drawn = [place(x, y) for x, y in points if math.isfinite(y)]
    if drawn:
        cv2.polylines(canvas, [np.array(drawn, np.int32)], False, _LINE, 2, cv2.LINE_AA)
    if 0 < len(drawn) <= 2 * _MOST_TICKS:
        for at in drawn:
            cv2.circle(canvas, at, 3, _LINE, -1, cv2.LINE_AA)
    return np.asarray(canvas, np.uint8)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most eight.

    Examples
    --------
    >>> _ticks(0, 1.3)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    >>> _ticks(1, 20, whole=True)
    [5.0, 10.0, 15.0, 20.0]
    """
    span = (high - low) or abs(high) or 1.0
    decade = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    step = next(decade * f for f in (1, 2, 5, 10) if span / (decade * f) < _MOST_TICKS)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{step * number:.12g}") for number in range(first, last + 1)] or [low]


def _write(
    canvas: ByteArray,
    text: str,
    at: tuple[int, int],
    *,
    align: float = 0.0,
    size: float = 0.42,
    colour: tuple[int, int, int] = _INK,
) -> None:
    """Write a text; ``align`` is the part of it that stands to the left of ``at``."""
    (width, _), _ = cv2.getTextSize(text, _FONT, size, 1)
    cv2.putText(canvas, text, (at[0] - round(align * width), at[1]), _FONT, size, colour, 1, cv2.LINE_AA)
