"""The curves of a run: a line, a table and a picture, with and without a validation."""

import csv
from itertools import pairwise

import numpy as np
import pytest

from infnet_train.run.curves import Row, as_csv, as_picture, best_epoch, epoch_line
from infnet_train.run.eta import Eta

BLUE, GREEN = (170, 90, 30), (60, 140, 40)


def history(epochs: int, *, dice: bool = True, per_epoch: int = 4) -> list[Row]:
    rows: list[Row] = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "step": epoch * per_epoch, "learning_rate": 1e-4, "loss": 3.0 / epoch}
        rows.append(row | ({"validation_dice": min(0.2 * epoch, 0.6)} if dice else {}))
    return rows


def columns_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.flatnonzero((picture == colour).all(-1).any(0))


def test_the_best_epoch_is_the_first_of_the_best() -> None:
    best = best_epoch(history(6))
    assert best is not None
    assert best["epoch"] == 3
    assert best_epoch(history(6, dice=False)) is None
    assert best_epoch([]) is None


def test_a_line_says_what_a_person_asks() -> None:
    line = epoch_line(history(5), epochs=99, took_s=90, left_s=7000)
    assert line == (
        "epoch 5 of 99: loss 0.600, validation Dice 0.6000 (best 0.6000 in epoch 3), learning rate 0.0001; "
        "took 1 min 30 s, 1 h 56 min left"
    )
    assert epoch_line(history(1, dice=False), epochs=None, took_s=0, left_s=None) == (
        "epoch 1: loss 3.000, learning rate 0.0001; took under 1 s"
    )
    assert "left" not in epoch_line(history(2), epochs=2, took_s=1, left_s=0.0)


def test_epochs_of_an_older_version_stay_in_the_table() -> None:
    rows: list[Row] = [{"epoch": 1, "step": 4, "loss": 2.0}, *history(2)[1:]]
    read = list(csv.DictReader(as_csv(rows).splitlines()))
    assert [row["loss"] for row in read] == ["2.0", "1.5"]
    assert [row["validation_dice"] for row in read] == ["", "0.4"]


@pytest.mark.parametrize("epochs", [1, 2, 5, 99])
@pytest.mark.parametrize("dice", [True, False])
def test_the_picture_has_a_panel_for_each_curve(epochs: int, dice: bool) -> None:
    picture = as_picture(history(epochs, dice=dice))
    panels = 3 if dice else 2
    assert picture.dtype == np.uint8
    assert picture.shape == (panels * 240, 880, 3)
    for panel in np.split(picture, panels):
        assert len(columns_of(panel, BLUE)) > 0  # a curve in each
        assert (len(columns_of(panel, GREEN)) > 0) == dice  # the best epoch in each


def test_the_curve_falls_where_the_loss_falls() -> None:
    panel = as_picture(history(9, dice=False))[:240]
    heights = [np.flatnonzero((panel[:, x] == BLUE).all(-1)).mean() for x in range(150, 800, 100)]
    assert all(later > earlier for earlier, later in pairwise(heights))  # rows count from above


def test_runs_that_look_more_than_once_in_an_epoch_are_drawn_by_steps() -> None:
    rows = [row | {"epoch": 1} for row in history(4)]
    of_steps, of_epochs = as_picture(rows)[:240], as_picture(history(4))[:240]
    assert np.array_equal(columns_of(of_steps, BLUE), columns_of(of_epochs, BLUE))


def test_a_loss_that_is_not_finite_or_constant_is_drawn_all_the_same() -> None:
    rows = history(3, dice=False)
    rows[1]["loss"] = float("nan")
    assert len(columns_of(as_picture(rows), BLUE)) > 0
    zero = [row | {"loss": 0.0, "learning_rate": 0.0} for row in history(3)]
    assert len(columns_of(as_picture(zero), BLUE)) > 0


def test_time_left_is_by_the_speed_since_the_first_look() -> None:
    now = [0.0]
    eta = Eta(lambda: now[0])
    assert eta.left_s(100, 200) is None  # resumed at 100
    now[0] = 10.0
    assert eta.left_s(110, 200) == pytest.approx(90.0)
    now[0] = 30.0
    assert eta.left_s(150, 200) == pytest.approx(30.0)
    assert eta.left_s(1, 400) is None  # the next stage
    now[0] = 32.0
    assert eta.left_s(5, 400) == pytest.approx(395 * 2 / 4)
