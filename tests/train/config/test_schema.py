"""One training: what is wrong in its configuration is named."""

from pathlib import Path

import pytest

from infnet_train.errors import ConfigError
from infnet_train.recipe import read_recipe

MINIMAL = 'name = "x"\n[[sources]]\nname = "a"\nfolder = "f"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3\n" + MINIMAL, "unknown key 'epoch'; did you mean 'epochs'"),
        (MINIMAL + 'trun = "none"\n', "unknown key 'trun'; did you mean 'turn'"),
        ('epochs = "many"\n' + MINIMAL, 'epochs is "many", expected a whole number, for example epochs = 8'),
        ("epochs = true\n" + MINIMAL, "epochs is true, expected a whole number"),
        ("sizes = [350]\n" + MINIMAL, r"sizes are \[350\], expected multiples of 32"),
        ('lr_schedule = "linear"\n' + MINIMAL, 'expected "compounding", "step", "constant" or "cosine"'),
        ('name = "x"\nsources = []\n', r"has no \[\[sources\]\]"),
        ("[[sources]]\nname = 'a'\nfolder = 'f'\n", "lacks name"),
        (MINIMAL + "teacher_share = 1.5\n", "teacher_share is 1.5, expected 0..1"),
        (MINIMAL + "teacher_share = 0.5\n", r"sources with a teacher_share are \['a'\]; give both or none"),
        ('teacher = "t.safetensors"\n' + MINIMAL, "teacher is 't.safetensors'"),
        ("name = \n", "is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe .*none.toml"):
        read_recipe(tmp_path / "none.toml")


def test_overrides_reach_nested_values(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    (stage,) = read_recipe(path, ["epochs=3", "augment.mirror=0.5", "init_from=runs/a.safetensors"])
    config = stage.config
    assert (config.schedule.epochs, config.batching.augment.mirror) == (3, 0.5)
    assert config.init_from == "runs/a.safetensors"
    with pytest.raises(ConfigError, match="expected key=value"):
        read_recipe(path, ["epochs"])
