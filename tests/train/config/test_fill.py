"""Values of a recipe, changed and refused: what was found, what was expected, and a line that would do."""

from pathlib import Path

import pytest

from infnet_train.config.lungs import LungTrainConfig
from infnet_train.config.schema import TrainConfig
from infnet_train.errors import ConfigError
from infnet_train.recipe import find_recipe, read_recipe

RECIPE = """
name = "r"
epochs = 4
[[sources]]
name = "labelled"
folder = "a"
[[sources]]
name = "pseudo a.b"
folder = "b"
"""
STAGES = (
    RECIPE
    + """
[stages.first]
epochs = 7
sources = { labelled = { turn = "transpose" } }
[stages.second]
"""
)


def config(folder: Path, *overrides: str, text: str = RECIPE) -> TrainConfig:
    return configs(folder, *overrides, text=text)[0]


def configs(folder: Path, *overrides: str, text: str = STAGES) -> list[TrainConfig]:
    path = folder / "r.toml"
    path.write_text(text)
    return [stage.config for stage in read_recipe(path, list(overrides))]


def test_one_of_the_sources_is_changed_by_its_name_or_number(tmp_path: Path) -> None:
    for override in ("sources.labelled.turn=transpose", 'sources.0.turn="transpose"'):
        sources = config(tmp_path, override).sources
        assert [source.turn for source in sources] == ["transpose", "none"]
    for override in ('sources."pseudo a.b".draws=3', "sources.1.draws = 3"):
        assert [source.draws for source in config(tmp_path, override).sources] == [0, 3]


def test_a_value_for_all_stages_reaches_those_that_have_their_own(tmp_path: Path) -> None:
    changed = configs(tmp_path, "epochs=1", "sources.labelled.turn=none", "sources.labelled.draws=2")
    assert [c.schedule.epochs for c in changed] == [1, 1]
    assert [c.sources[0].turn for c in changed] == ["none", "none"]
    assert [c.sources[0].draws for c in changed] == [2, 2]
    assert [c.schedule.epochs for c in configs(tmp_path, "epochs=1", "stages.first.epochs=3")] == [3, 1]
    assert [c.schedule.epochs for c in configs(tmp_path)] == [7, 4]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.labeled.turn=none", "no 'labeled' in sources; did you mean 'labelled'?"),
        ("sources.9.turn=none", "no '9' in sources; there are labelled, pseudo a.b"),
        ("sources.labelled=none", "sources is .*, expected a table and one of its keys"),
        ("epochs.first=3", "epochs is 4, expected a table"),
        ("epochs.first.last=3", "epochs is 4, expected a table"),
        ("sources.labelled.turn.x=3", "turn is .*expected|unknown key"),
        ("stages.first.epochs=3", "the recipe has no 'stages'; it has no stages"),
        ("epochs", "expected key=value, for example epochs=10"),
        ("=3", "expected key=value"),
        ("sizes=96", r"sizes is 96, expected a list of whole numbers, for example sizes = \[256, 352\]"),
        ('sizes=[96,"a"]', r'sizes is \[96, "a"\], expected a list of whole numbers'),
        ("sizes=[[96]]", r"sizes is \[\[96\]\], expected a list of whole numbers"),
        ("augment=3", "augment: found 3, expected a table"),
        ("augment.mirror=half", 'mirror is "half", expected a number, for example mirror = 0.5'),
        ("augment.miror=0.5", "augment: unknown key 'miror'; did you mean 'mirror'?"),
        ("sources.labelled.trun=none", "sources 'labelled': unknown key 'trun'; did you mean 'turn'?"),
        ("sources.labelled.turn=up", 'turn is "up", expected "none", "transpose" or "transpose_flip"'),
        (
            "sources.labelled.names=s1",
            r'names is "s1", expected a list of texts, for example .* = \["a", "b"\]',
        ),
        ("sources.labelled.grey_range=[1,2,3]", "expected a list of 2 numbers, for example grey_range"),
        ("sources.labelled.grey_range=[200,3]", "grey_range is .*, expected two rising levels"),
        ("sources.labelled.draws=-1", "source 'labelled': draws is -1, expected 0 or more"),
        ("parts=edge", r'parts is "edge", expected a list of "edge_attention"'),
        ("random_size=1", "random_size is 1, expected true or false, for example random_size = true"),
        ("name=3", 'name is 3, expected text in quotes, for example name = "labelled"'),
        ("seed=-1", "seed is -1, expected 0 or more"),
        ("epochs=0", "epochs is 0, expected 1 or more"),
        ("batch_size=0", "batch_size is 0, expected 1 or more"),
        ("learning_rate=nan", "learning_rate is nan, expected more than 0"),
        ("learning_rate=0", "learning_rate is 0.0, expected more than 0"),
        ("lr_step=0", "lr_step is 0, expected 1 or more"),
        ("ema=1", "ema is 1.0, expected 0 to 1, below 1"),
        ("augment.mirror=2", "augment.mirror is 2.0, expected 0 to 1"),
        ("augment.noise=-0.1", "augment.noise is -0.1, expected 0 or more"),
        ("preprocess.size=350", "r.toml: input size is 350, expected a multiple of 32"),
        ("validation=3", "validation: found 3, expected a table"),
    ],
)
def test_mistakes_name_the_key_the_value_and_what_would_do(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"\[INF-3101\] .*{message}"):
        config(tmp_path, override)


def test_a_mistyped_stage_is_no_new_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the recipe has no 'frist'; did you mean 'first'?"):
        configs(tmp_path, "stages.frist.epochs=3")


def test_recipes_are_found_by_name_with_or_without_ending(tmp_path: Path) -> None:
    assert find_recipe(Path("infnet")) == find_recipe(Path("infnet.toml"))
    with pytest.raises(
        ConfigError, match=r"there is no recipe infent; did you mean 'infnet'\? \(in .*configs"
    ):
        find_recipe(Path("infent"))
    with pytest.raises(
        ConfigError, match="there is no recipe zzz.toml; there are classes, default, fine_tune, infnet"
    ):
        find_recipe(Path("zzz.toml"))
    with pytest.raises(ConfigError, match=f"there is no recipe {tmp_path}/infnet.toml"):
        find_recipe(tmp_path / "infnet.toml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe"):
        find_recipe(tmp_path)
    with pytest.raises(ConfigError, match=r"\[INF-3101\] cannot read"):
        read_recipe(tmp_path)


def test_the_lung_network_checks_its_numbers_too() -> None:
    with pytest.raises(ConfigError, match="steps 0"):
        LungTrainConfig(name="x", steps=0, shares={})
