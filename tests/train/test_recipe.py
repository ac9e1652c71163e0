"""Recipes: every shipped one can be read, stages build on each other, and mistakes are named."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from infnet_train import recipe as recipes
from infnet_train.data.reserved import RESERVED, is_held_out, is_reserved
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.recipe import CONFIGS, find_recipe, read_recipe, run_recipe
from infnet_train.weights.checkpoint import read_checkpoint
from train_config import changed
from train_slices import PSEUDO

SHIPPED = sorted(CONFIGS.glob("*.toml"))
SOURCES = """
name = "two"
epochs = 1
batch_size = 3
sizes = [32]
augment.mirror = 0.5
[[sources]]
name = "a"
folder = "small"
names = ["s0", "s1"]
[[sources]]
name = "b"
folder = "small"
names = ["s2", "s3", "s4"]
"""
TWO_STAGES = (
    SOURCES
    + """
[stages.first]
seed = 1
sources = { a = {} }
[stages.second]
init_from = "stage:first"
teacher = "stage:first"
augment.enhance = 0.25
sources = { b = { draws = 2, teacher_share = 1.0 } }
"""
)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_open_with_their_command(path: Path) -> None:
    stages = read_recipe(path)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# infnet-train ")
    assert f"--config {path.name}" in first or path.name == "default.toml"
    assert {s.config.name.split()[0].replace("-", "_") for s in stages} == {path.stem}


def test_the_recipe_of_the_paper_validates_where_asked_and_only_there(tmp_path: Path) -> None:
    path = CONFIGS / "infnet.toml"
    (plain,) = read_recipe(path)
    assert plain.config.validation is None
    assert not plain.config.sources[0].exclude
    text = path.read_text("utf-8")
    (marked,) = read_recipe(write(tmp_path, text.replace("#: ", "")))
    command = " ".join(line.lstrip("# ") for line in text.splitlines())
    settings = re.findall(r"--set '([^']*)'", command)
    assert len(settings) == 2
    (asked,) = read_recipe(path, settings)
    assert asked == marked
    validation = asked.config.validation
    assert validation is not None
    assert validation.names == asked.config.sources[0].exclude
    assert (validation.folder, validation.turn) == (plain.config.sources[0].folder, "transpose")
    assert asked.config.schedule == plain.config.schedule


@pytest.mark.data
def test_the_recipes_of_shipped_models_train_on_no_case_that_measures_them(
    data_root: Path, tmp_path: Path
) -> None:
    """By the names that preparation gives to the slices of the public sets."""
    semiseg = data_root / "covid-semiseg"
    names = {
        "manual": [p.stem for p in (data_root / "covid-semiseg-manual" / "GT").glob("*.png")],
        "pseudo": [p.stem for p in (semiseg / PSEUDO / "Imgs").glob("*.jpg") if not is_reserved(p.stem)],
        "volumes": [
            f"{p.name.removesuffix('_ct.nii.gz')}_012"
            for p in data_root.glob("radiopaedia-covid-volumes*/*_ct.nii.gz")
        ],
    }
    names["transferred"] = [n for n in names["manual"] if "coronacases" in n]
    assert any(is_held_out(name) for name in names["volumes"])
    for recipe in ("default.toml", "fine_tune.toml", "classes.toml", "multi_class.toml"):
        for stage in read_recipe(CONFIGS / recipe):
            for source in stage.config.sources:
                assert source.folder != "normal-held-back"
                taken = [
                    n
                    for n in names.get(source.folder, [])
                    if (not source.include or any(part in n for part in source.include))
                    and not any(part in n for part in source.exclude)
                ]
                assert taken or source.folder not in names
                assert not [n for n in taken if is_held_out(n)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_no_recipe_takes_reserved_cases_from_the_public_set(path: Path) -> None:
    def taken(source: SourceConfig, name: str) -> bool:
        wanted = not source.include or any(part in name for part in source.include)
        return wanted and not any(part in name for part in source.exclude)

    for stage in read_recipe(path):
        propagation = stage.config.propagation
        for source in stage.config.sources + (propagation.unlabelled if propagation else ()):
            if source.folder == str(PSEUDO):
                for case in RESERVED:
                    origin = (
                        case if "coronacases" in case else f"radiopaedia_org_covid-19-pneumonia-{case}-dcm"
                    )
                    assert is_reserved(f"Data-1_{origin}_1")
                    assert not taken(source, f"Data-1_{origin}_1"), source.name


def test_stages_share_the_keys_at_the_top_and_choose_their_sources(tmp_path: Path) -> None:
    first, second = read_recipe(write(tmp_path, TWO_STAGES), ["epochs=3", "stages.second.epochs=5"])
    assert (first.name, first.config.name) == ("first", "two first")
    assert (first.config.schedule.epochs, first.config.batching.seed) == (3, 1)
    assert [s.name for s in first.config.sources] == ["a"]
    assert (second.config.schedule.epochs, second.config.batching.seed) == (5, 0)
    augment = second.config.batching.augment
    assert (augment.mirror, augment.enhance) == (0.5, 0.25)
    assert [(s.name, s.draws, s.teacher_share) for s in second.config.sources] == [("b", 2, 1.0)]


def test_a_stage_can_leave_the_validation_out(tmp_path: Path) -> None:
    validation = '[validation]\nname = "v"\nfolder = "small"\nnames = ["s5"]\n'
    stages = "[stages.first]\n[stages.second]\nvalidation = false\n"
    first, second = read_recipe(write(tmp_path, SOURCES + validation + stages))
    assert first.config.validation is not None
    assert second.config.validation is None


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[stages.x]\nsources = { c = {} }", "names c; the recipe has a, b"),
        (
            '[stages.x]\ninit_from = "stage:y"\n[stages.y]',
            "builds on stage 'y', which does not come before it",
        ),
        ('[stages.x]\nkind = "tune"', "kind is 'tune', expected train or propagate"),
        ("[stages.x]\nepoch = 3", "stages.x: unknown key 'epoch'"),
        ("[stages]", "expected tables"),
        ("[stages.x]\nsources = []", "expected a table of source names"),
    ],
)
def test_mistakes_in_stages_are_named(tmp_path: Path, stages: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(write(tmp_path, SOURCES + stages))


def test_a_bare_name_is_a_recipe_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path("infnet.toml")) == CONFIGS / "infnet.toml"
    (tmp_path / "infnet.toml").write_text(SOURCES)
    assert find_recipe(Path("infnet.toml")) == Path("infnet.toml")


def test_stages_run_one_after_the_other_and_resume_leaves_out_what_is_done(
    slices: Path, small_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    stages = read_recipe(write(tmp_path, f'network = "{small_network}"\n{TWO_STAGES}'))
    out = tmp_path / "run"
    weights = run_recipe(stages, slices, out)
    assert weights == out / "second" / "weights.safetensors"
    before = read_checkpoint(weights).tensors
    config = read_checkpoint(weights).state["config"]
    assert config["init_from"] == str((out / "first" / "weights.safetensors").resolve())

    monkeypatch.setattr(recipes, "train", lambda *_, **__: pytest.fail("a complete stage was run again"))
    assert run_recipe(stages, slices, out, resume=True) == weights
    monkeypatch.undo()
    weights.unlink()
    (out / "second" / "last.safetensors").unlink()
    run_recipe(stages, slices, out, resume=True)
    after = read_checkpoint(weights).tensors
    assert all(torch.equal(before[name], after[name]) for name in before | after)


@pytest.mark.slow
def test_semi_inf_net_from_beginning_to_end(slices: Path, tmp_path: Path) -> None:
    """The shipped recipe on six small slices: the same stages, fewer steps."""
    torch.set_num_threads(1)
    one = SourceConfig(name="x", folder="small", names=("s3", "s4", "s5"))
    stages = []
    for stage in read_recipe(CONFIGS / "semi_infnet.toml"):
        propagation = stage.config.propagation
        sources = tuple(
            dataclasses.replace(s, folder="small", names=("s0", "s1", "s2"), turn="none")
            if s.name == "labelled"
            else s
            for s in stage.config.sources
            if s.name in ("labelled", "labels of radiopaedia")
        )
        if propagation:
            propagation = dataclasses.replace(propagation, unlabelled=(one,), group_size=2, epochs=1)
        config = changed(
            stage.config, sources=sources, propagation=propagation, sizes=(64,), epochs=1, batch_size=4
        )
        stages.append(dataclasses.replace(stage, config=config))
    weights = run_recipe(tuple(stages), slices, tmp_path / "run")
    assert weights == tmp_path / "run" / "finetune" / "weights.safetensors"
    made = tmp_path / "run" / "labels" / "labels" / "0" / "GT"
    assert sorted(p.stem for p in made.iterdir()) == ["s3", "s4", "s5"]
