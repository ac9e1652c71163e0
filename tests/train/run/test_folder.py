"""The folder of a run: no run replaces another, shares its folder, or goes on as another."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from infnet_runtime.errors import ModelError, OutputError
from infnet_train.cli.main import app
from infnet_train.config.schema import TrainConfig
from infnet_train.errors import ConfigError
from infnet_train.recipe import Stage, read_recipe, run_recipe
from infnet_train.run.folder import claimed, default_folder, refuse_begun
from infnet_train.run.loop import train
from infnet_train.weights.checkpoint import read_state
from train_config import SMALL, changed
from train_slices import write_slice


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def quick(small_network: str) -> TrainConfig:
    return changed(SMALL, network=small_network, epochs=1, sizes=(32,))


def stage(name: str, config: TrainConfig, start: str = "") -> Stage:
    return Stage(name, "train", changed(config, init_from=start))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights(path: Path) -> bytes:
    return path.read_bytes()


def test_a_finished_run_is_not_replaced_whatever_changed(
    quick: TrainConfig, slices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_recipe((Stage("", "train", quick),), slices, out)
    before = everything(out)
    for config in (quick, changed(quick, seed=1)):
        with pytest.raises(
            OutputError, match=r"\[INF-8020\] .* holds a finished run \(weights.safetensors\)"
        ):
            run_recipe((Stage("", "train", config),), slices, out)
        with pytest.raises(OutputError, match="holds a finished run"):
            train(config, slices, out)
    with pytest.raises(OutputError, match="holds a finished run"):  # before the data are looked at
        run_recipe((Stage("", "train", quick),), tmp_path / "nowhere", out)
    assert everything(out) == before


def test_data_that_are_not_there_are_named_before_anything_else(quick: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[INF-3160\] --data .*nowhere is not there; expected a folder"):
        run_recipe((Stage("", "train", quick),), tmp_path / "nowhere", tmp_path / "run")
    assert default_folder(tmp_path / "run") == tmp_path / "run"


def test_a_begun_run_is_not_replaced_and_the_remedy_is_to_go_on(
    quick: TrainConfig, slices: Path, tmp_path: Path
) -> None:
    def stop(step: int, _total: int, _text: str) -> None:
        if step == 3:
            raise KeyboardInterrupt

    stages = (Stage("", "train", changed(quick, epochs=2)),)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(stages, slices, tmp_path / "run", progress=stop)
    with pytest.raises(OutputError, match=r"begun and not finished .*; go on with --resume"):
        run_recipe(stages, slices, tmp_path / "run")
    run_recipe(stages, slices, tmp_path / "run", resume=True)
    assert read_state(tmp_path / "run" / "weights.safetensors")["step"] == 4


def test_stages_that_are_there_are_not_replaced(quick: TrainConfig, slices: Path, tmp_path: Path) -> None:
    stages = (stage("first", quick), stage("second", quick, "stage:first"))
    out = tmp_path / "run"
    run_recipe(stages[:1], slices, out)
    with pytest.raises(OutputError, match=r"begun and not finished \(first/weights.safetensors\)"):
        run_recipe(stages, slices, out)
    run_recipe(stages, slices, out, resume=True)
    with pytest.raises(OutputError, match=r"holds a finished run \(second/weights.safetensors\)"):
        run_recipe(stages, slices, out)
    (tmp_path / "labels only" / "labels" / "labels").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"\(labels/labels\)"):
        refuse_begun(tmp_path / "labels only", ["labels"])


def test_force_moves_the_whole_folder_aside(quick: TrainConfig, slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first, second = ((Stage("", "train", changed(quick, seed=seed)),) for seed in (0, 1))
    run_recipe(first, slices, out)
    before = everything(out)
    run_recipe(second, slices, out, force=True)
    assert everything(tmp_path / "run.1") == before
    assert read_state(out / "weights.safetensors")["config"]["seed"] == 1
    assert len(list((out / "tensorboard").iterdir())) == 1
    run_recipe(first, slices, out, force=True)
    assert read_state(tmp_path / "run.2" / "weights.safetensors")["config"]["seed"] == 1
    assert weights(out / "weights.safetensors")[-64:] == before["weights.safetensors"][-64:]


def test_force_leaves_what_the_run_needs_where_it_is(
    quick: TrainConfig, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run_recipe((Stage("", "train", quick),), slices, out)
    before = everything(out)
    needing = changed(quick, init_from=str(out / "weights.safetensors"))
    with pytest.raises(OutputError, match=r"\[INF-8022\] --force would move .* which this run needs"):
        run_recipe((Stage("", "train", needing),), slices, out, force=True)
    with pytest.raises(OutputError, match="--force would move"):
        run_recipe((Stage("", "train", quick),), out / "data", out, force=True)
    monkeypatch.chdir(out)
    with pytest.raises(OutputError, match="--force would move"):
        run_recipe((Stage("", "train", quick),), slices, out, force=True)
    assert everything(out) == before


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with claimed(out, resume=False, force=False):
        for resume in (False, True):
            with (
                pytest.raises(OutputError, match=r"\[INF-8021\] another process trains in"),
                claimed(out, resume=resume, force=False),
            ):
                pass
        assert default_folder(out) == tmp_path / "run-2"
    assert default_folder(out) == out
    with claimed(out, resume=False, force=False):
        pass


def test_runs_without_a_name_get_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "infnet"
    (base / "cache").mkdir(parents=True)  # no checkpoint was written
    assert default_folder(base) == base
    (base / "last.safetensors").touch()
    assert default_folder(base) == base  # begun: to be gone on with
    with pytest.raises(OutputError, match="begun and not finished"):
        refuse_begun(default_folder(base))
    (base / "weights.safetensors").touch()
    assert default_folder(base) == tmp_path / "infnet-2"
    assert default_folder(base, go_on=True) == base
    (tmp_path / "infnet-2" / "last").mkdir(parents=True)
    (tmp_path / "infnet-2" / "last" / "weights.safetensors").touch()
    assert default_folder(base, ["first", "last"]) == tmp_path / "infnet-3"
    assert default_folder(base, ["first", "last"], go_on=True) == tmp_path / "infnet-2"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert default_folder(base, ["first", "last"]) == base


def test_a_finished_run_says_so_and_stays(
    quick: TrainConfig, slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "run"
    stages = (stage("first", quick), stage("second", quick, "stage:first"))
    made = run_recipe(stages, slices, out, resume=True)
    assert "there is no run in" in caplog.text
    before = everything(out)
    caplog.clear()
    assert run_recipe(stages, tmp_path / "nowhere", out, resume=True) == made
    assert f"{out} is finished; there is nothing to go on with" in caplog.text
    assert train(read_again(made), slices, made.parent, resume=True) == made
    assert everything(out) == before


def read_again(made: Path) -> TrainConfig:
    return changed(SMALL, **read_state(made)["config"])


def test_a_resume_with_another_recipe_names_the_keys_with_both_values(
    quick: TrainConfig, slices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_recipe((stage("first", quick),), slices, out)
    for key, value, text in (
        ("seed", 3, "seed was 0 and is 3"),
        ("augment", {"mirror": 0.25}, r"augment.mirror was 0.5 and is 0.25, augment.rotation_deg was 10.0"),
        ("sizes", [64], r"sizes\[0\] was 32 and is 64"),
    ):
        with pytest.raises(ModelError, match=rf"\[INF-4004\] .*first/weights.* was made .*: {text}"):
            run_recipe((stage("first", changed(quick, **{key: value})),), slices, out, resume=True)
    with pytest.raises(ModelError, match="learning_rate was"):
        train(changed(quick, learning_rate=0.1), slices, out / "first", resume=True)


def test_a_complete_stage_on_one_that_is_gone_is_refused(
    quick: TrainConfig, slices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stages = (stage("a", quick), stage("b", quick, "stage:a"), stage("c", quick, "stage:b"))
    run_recipe(stages[:2], slices, out)
    (out / "a" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"\[INF-4004\] stage 'b' .* complete, and the weights of stage 'a'"):
        run_recipe(stages, slices, out, resume=True)


def test_a_resume_on_other_slices_is_refused_and_with_other_options_said(
    quick: TrainConfig, slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(step: int, _total: int, _text: str) -> None:
        if step == 3:
            raise KeyboardInterrupt

    config, out = changed(quick, epochs=3), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config, slices, out, progress=stop)
    write_slice(slices / "small", "s6", seed=6)
    with pytest.raises(ModelError, match=r"began with \[6\] slices .* would go on with \[7\]"):
        train(config, slices, out, resume=True)
    (slices / "small" / "Imgs" / "s6.png").unlink()
    (slices / "small" / "GT" / "s6.png").unlink()
    train(config, slices, out, resume=True, bf16=True)
    assert "precision was 'fp32' and is 'bf16'" in caplog.text


def test_the_command_refuses_and_forces(
    slices: Path, small_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        f'name = "q"\nnetwork = "{small_network}"\nepochs = 1\nbatch_size = 3\nsizes = [32]\n'
        '[[sources]]\nname = "small"\nfolder = "small"\n'
    )
    command = ["--config", str(recipe), "--data", str(slices)]
    for expected in ("quick", "quick-2"):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[0] == f"runs/{expected}/weights.safetensors"
    done = CliRunner().invoke(app, [*command, "-o", "runs/quick"])
    assert isinstance(done.exception, OutputError)
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    assert (tmp_path / "runs" / "quick-2.1" / "weights.safetensors").is_file()
    assert CliRunner().invoke(app, [*command, "--resume", "--force"]).exit_code == 2


def test_labels_made_by_another_recipe_do_not_go_on(tmp_path: Path) -> None:
    from infnet_train.semi.pseudo_labels import propagate

    for i in range(4):
        write_slice(tmp_path / "data" / "small", f"s{i}", seed=i)
    (stage_,) = read_recipe(_propagating(tmp_path))
    record = tmp_path / "out" / "propagation.json"
    record.parent.mkdir()
    from infnet_runtime.plain import to_plain

    state = {"groups_done": 1, "weights": "w", "slices": 2, "config": to_plain(stage_.config)}
    record.write_text(json.dumps(state))
    other = dataclasses.replace(
        stage_.config, propagation=dataclasses.replace(stage_.config.propagation, group_size=3)
    )
    with pytest.raises(ModelError, match=r"\[INF-4004\] .* propagation.group_size was 2 and is 3"):
        propagate(other, tmp_path / "data", record.parent)
    record.write_text(json.dumps(state | {"slices": 5}))
    with pytest.raises(ModelError, match="is about 5 unlabelled slices, and there are 2 now"):
        propagate(stage_.config, tmp_path / "data", record.parent)


def _propagating(folder: Path) -> Path:
    recipe = folder / "propagate.toml"
    recipe.write_text(
        'name = "p"\nsizes = [32]\ninit_from = "start"\n[[sources]]\nname = "a"\nfolder = "small"\n'
        '[stages.labels]\nkind = "propagate"\n[stages.labels.propagation]\ngroup_size = 2\n'
        '[[stages.labels.propagation.unlabelled]]\nname = "u"\nfolder = "small"\nnames = ["s2", "s3"]\n'
    )
    return recipe
