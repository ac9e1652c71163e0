"""Speed of a training: waits and steps apart, the first steps left out."""

import json
import time
from pathlib import Path

import pytest

from infnet_train.run.speed import Speed

WAIT_S, STEP_S = 0.01, 0.03


def test_waits_and_steps_are_counted_after_the_first_ones(tmp_path: Path) -> None:
    speed = Speed()
    assert (speed.slices_per_s, speed.waiting_share) == (0, 0)
    for _ in range(20):
        with speed.waiting():
            time.sleep(WAIT_S)
        with speed.step(8):
            time.sleep(STEP_S)
    assert (speed.steps, speed.slices) == (10, 80)
    # A sleep can be longer than asked, on a busy machine much longer, and is never shorter.
    assert speed.waiting_s >= 10 * WAIT_S
    assert speed.step_s >= 10 * STEP_S
    total = speed.waiting_s + speed.step_s
    assert speed.slices_per_s == pytest.approx(80 / total)
    assert speed.waiting_share == pytest.approx(speed.waiting_s / total)
    speed.write(tmp_path / "speed.json")
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["steps"] == 10
    assert written["slices_per_s"] == pytest.approx(80 / total, abs=0.01)
