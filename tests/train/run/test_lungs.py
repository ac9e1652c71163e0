"""A tiny run of the lung network: it learns, and a resumed one equals the uninterrupted one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from builders import chest_phantom
from infnet_runtime.errors import OutputError
from infnet_train.config.fill import build, read_values
from infnet_train.config.lungs import LungTrainConfig
from infnet_train.data.lungs.stack import shrunk, write_stack
from infnet_train.errors import ConfigError
from infnet_train.recipe import CONFIGS
from infnet_train.run.lungs import train_lungs
from infnet_train.weights.checkpoint import read_checkpoint


def config(steps: int = 4, **values: object) -> LungTrainConfig:
    settings = {"batch_size": 2, "small_size": 32, "small_share": 1.0, "warmup_steps": 1} | values
    return LungTrainConfig(name="tiny", steps=steps, shares={"phantom": 1.0}, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lungs")
    phantom = chest_phantom()
    sides = np.asarray(phantom.lungs, np.uint8)
    for part in ("train", "validation"):
        (root / part).mkdir()
        write_stack(root / part, shrunk("chest", "phantom", phantom.hu, sides, phantom.spacing_mm))
    return root


def test_a_run_writes_weights_curves_and_scores(data: Path, tmp_path: Path) -> None:
    weights = read_checkpoint(train_lungs(config(), data, tmp_path))
    assert weights.state["step"] == 4
    assert set(weights.state["validation"]) == {"chest"}
    assert weights.group("weights")
    assert (tmp_path / "last.safetensors").is_file()


def test_a_resumed_run_equals_the_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(train_lungs(config(), data, tmp_path / "whole", steps_between_checkpoints=2))

    class Stop(Exception):
        pass

    def stop(done: int, _total: int, _text: str) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train_lungs(config(), data, tmp_path / "cut", steps_between_checkpoints=2, progress=stop)
    resumed = read_checkpoint(train_lungs(config(), data, tmp_path / "cut", resume=True))
    for name, tensor in whole.group("weights").items():
        assert torch.equal(tensor, resumed.group("weights")[name]), name


def test_a_finished_run_is_not_replaced_and_goes_on_only_for_more_steps(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = train_lungs(config(), data, tmp_path / "run")
    before = made.read_bytes()
    with pytest.raises(OutputError, match=r"\[INF-8020\] .* holds a finished run"):
        train_lungs(config(seed=1), data, tmp_path / "run")
    train_lungs(config(), data, tmp_path / "run", resume=True)
    assert "is finished, at step 4" in caplog.text
    assert made.read_bytes() == before
    train_lungs(config(steps=5), data, tmp_path / "run", resume=True)
    assert read_checkpoint(made).state["step"] == 5
    train_lungs(config(), data, tmp_path / "run", force=True)
    assert read_checkpoint(tmp_path / "run.1" / made.name).state["step"] == 5


def test_curves_of_a_resumed_run_have_no_row_twice(data: Path, tmp_path: Path) -> None:
    train_lungs(config(steps=2), data, tmp_path)
    rows = ["step,learning_rate,loss,seconds\n", "1,0.1,0.5,1\n", "2,0.1,0.5,2\n", "3,0.1,0.5,3\n"]
    (tmp_path / "curves.csv").write_text("".join(rows))
    train_lungs(config(steps=3), data, tmp_path, resume=True)
    assert (tmp_path / "curves.csv").read_text() == "".join(rows[:3])


def test_the_recipe_in_the_configs_is_read() -> None:
    path = CONFIGS / "lungs" / "lungs.toml"
    recipe = build(LungTrainConfig, read_values(path, ["steps=3", "shares.empty=0.5"]), str(path))
    assert (recipe.name, recipe.steps, recipe.shares["empty"]) == ("lungs", 3, 0.5)


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"batch_size": 1}, {"small_size": 50}, {"falling_share": 0.0}]
)
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        config(**values)  # type: ignore[arg-type]
