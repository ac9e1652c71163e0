"""The command ``infnet-train`` starts as a script and as a module, which torchrun needs."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infnet_train.cli.main import app


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "infnet_train.cli", "data", "check", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Read every picture of a data folder" in done.stdout


def test_without_data_it_says_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "infnet-train data prepare FOLDER_OF_THE_SETS --out data/prepared" in done.stderr
    assert "of yours: infnet-train data prepare FOLDER --out data/mine" in done.stderr


def test_options_of_a_training_before_another_command_are_refused() -> None:
    done = CliRunner().invoke(app, ["--precision", "bf16", "data", "check", "."])
    assert done.exit_code == 2
    assert "--precision belongs to a training, not to 'data'" in done.stderr
