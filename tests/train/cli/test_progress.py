"""What a training says: lines in a log where there is no terminal, and what to do when it is done."""

import logging
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infnet_train.cli.main import app
from infnet_train.cli.progress import Progress, log_to_stderr, what_to_do_next


def test_without_a_terminal_a_line_comes_now_and_then_with_the_time_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    now = [0.0]
    with Progress(lambda: now[0]) as progress:
        for step in range(1, 101):
            now[0] = float(step)
            progress(step, 200, "epoch 1, loss 0.500")
    assert caplog.messages == [
        "step 10 of 200, epoch 1, loss 0.500, 3 min 10 s left",
        "step 40 of 200, epoch 1, loss 0.500, 2 min 40 s left",
        "step 70 of 200, epoch 1, loss 0.500, 2 min 10 s left",
        "step 100 of 200, epoch 1, loss 0.500, 1 min 40 s left",
    ]


def test_the_log_follows_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    log_to_stderr()
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # as a bar does it
    logging.getLogger("infnet_train").info("epoch 1")
    assert capsys.readouterr().out.endswith(" epoch 1\n")


def test_a_run_ends_with_where_the_weights_are_and_what_comes_next(
    slices: Path, small_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\nnetwork = "{small_network}"\nepochs = 2\nbatch_size = 3\nsizes = [32]\n'
        '[[sources]]\nname = "small"\nfolder = "small"\nexclude = ["s0"]\n'
        '[validation]\nname = "v"\nfolder = "small"\nnames = ["s0"]\n'
    )
    out = tmp_path / "run"
    command = ["--config", str(recipe), "--data", str(slices), "-o", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}/weights.safetensors\n"
    assert "best epoch: 1, validation Dice 0." in done.stderr or "best epoch: 2" in done.stderr
    assert f"{out}/best.safetensors" in done.stderr
    assert f"infnet-train eval {out}/weights.safetensors FOLDER_OF_TEST_SLICES" in done.stderr
    assert f"infnet-export {out}/weights.safetensors -o model" in done.stderr
    assert sorted(p.name for p in out.iterdir() if p.is_file() and p.name[0] != ".") == [
        *("best.safetensors", "curves.csv", "curves.png", "last.safetensors", "speed.json"),
        *("trained_on.npy", "weights.safetensors"),
    ]
    again = CliRunner().invoke(app, [*command, "--resume"])
    assert again.stdout == done.stdout
    monkeypatch.setenv("RANK", "1")  # of several processes one says it
    assert CliRunner().invoke(app, [*command, "--resume"]).stdout == ""


def test_without_a_validation_there_is_no_best_epoch(tmp_path: Path) -> None:
    from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint

    weights = tmp_path / "weights.safetensors"
    write_checkpoint(weights, Checkpoint({}, {"history": [{"epoch": 1, "loss": 0.5}]}))
    assert "best" not in what_to_do_next(weights)
    assert what_to_do_next(weights).startswith(f"weights of the last epoch: {weights}\n")
