"""The commands ``infnet-train lungs``."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from builders import chest_phantom
from infnet_train.cli.main import app
from infnet_train.data.lungs.stack import shrunk, write_stack


def test_train_writes_weights_by_a_recipe(tmp_path: Path) -> None:
    phantom = chest_phantom()
    sides = np.asarray(phantom.lungs, np.uint8)
    (tmp_path / "data" / "train").mkdir(parents=True)
    write_stack(tmp_path / "data/train", shrunk("a", "radiopaedia", phantom.hu, sides, phantom.spacing_mm))
    settings = ["steps=1", "batch_size=2", "small_size=32", "small_share=1.0"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = CliRunner().invoke(
        app, ["lungs", "train", "--data", f"{tmp_path / 'data'}", "-o", f"{tmp_path / 'run'}", *options]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_prepare_refuses_a_folder_without_sets(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["lungs", "prepare", f"{tmp_path}", "-o", f"{tmp_path / 'out'}"])
    assert "no set with lung masks" in str(done.exception)


def test_help_needs_no_data() -> None:
    done = CliRunner().invoke(app, ["lungs", "--help"])
    assert done.exit_code == 0
    assert "prepare" in done.output
