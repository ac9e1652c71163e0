"""Semi-Inf-Net interrupted in any of its stages and started again: it goes on, and gives the same weights."""

from pathlib import Path

import pytest
import torch

from infnet_runtime.errors import OutputError
from infnet_train.recipe import Stage, read_recipe, run_recipe
from infnet_train.weights.checkpoint import read_checkpoint

RECIPE = """
name = "semi"
network = "{network}"
epochs = 2
batch_size = 3
sizes = [32]
[[sources]]
name = "labelled"
folder = "small"
names = ["s0", "s1"]
[[sources]]
name = "made"
folder = "stage:labels/labels/0"
[stages.infnet]
sources = {{ labelled = {{}} }}
[stages.labels]
kind = "propagate"
init_from = "stage:infnet"
sources = {{ labelled = {{}} }}
[stages.labels.propagation]
group_size = 2
epochs = 1
[[stages.labels.propagation.unlabelled]]
name = "unlabelled"
folder = "small"
names = ["s2", "s3", "s4"]
[stages.pretrain]
sources = {{ made = {{}} }}
[stages.finetune]
init_from = "stage:pretrain"
sources = {{ labelled = {{}} }}
"""


@pytest.fixture
def stages(small_network: str, tmp_path: Path) -> tuple[Stage, ...]:
    torch.set_num_threads(1)
    path = tmp_path / "semi.toml"
    path.write_text(RECIPE.format(network=small_network))
    return read_recipe(path)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "finetune" / "weights.safetensors").group("weights")


def labels(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (out / "labels" / "labels" / "0" / "GT").iterdir()}


def test_an_interruption_at_any_step_changes_nothing(
    stages: tuple[Stage, ...], slices: Path, tmp_path: Path
) -> None:
    run_recipe(stages, slices, tmp_path / "whole")
    assert sorted(labels(tmp_path / "whole")) == ["s2.png", "s3.png", "s4.png"]
    out, steps = tmp_path / "broken", 0

    def stop_at_every_third(_step: int, _total: int, _text: str) -> None:
        nonlocal steps
        steps += 1
        if steps % 3 == 0:  # the longest epoch has two steps
            raise KeyboardInterrupt

    interruptions = 0
    while not (out / "finetune" / "weights.safetensors").exists():
        assert interruptions < 20, "it does not get on"
        try:
            run_recipe(stages, slices, out, resume=True, progress=stop_at_every_third)
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 3
    assert labels(out) == labels(tmp_path / "whole")
    before, after = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(before[name], after[name]) for name in before | after)


def test_begun_labels_are_not_replaced_by_another_run(
    stages: tuple[Stage, ...], slices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_recipe(stages[:2], slices, out)
    before = labels(out)
    with pytest.raises(OutputError, match=r"\[INF-8020\] .* holds a run that was begun and not finished"):
        run_recipe(stages, slices, out)
    assert labels(out) == before
    run_recipe(stages, slices, out, force=True)
    assert labels(tmp_path / "run.1") == before
