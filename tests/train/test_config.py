"""Recipes: every shipped one can be read, and what is wrong in one is named."""

from pathlib import Path

import pytest

from infnet_train.config import ConfigError, read_config

CONFIGS = sorted((Path(__file__).parents[2] / "train" / "configs").glob("*.toml"))
MINIMAL = 'name = "x"\n[[sources]]\nname = "a"\nfolder = "f"\n'


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_open_with_their_command(path: Path) -> None:
    config = read_config(path)
    first = path.read_text().splitlines()[0]
    command = "infnet-train propagate" if config.propagation else "infnet-train"
    assert first.startswith(f"# {command} --config train/configs/{path.name}")
    assert config.name.replace("-", "_") == path.stem


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_no_recipe_of_a_shipped_model_touches_reserved_cases(path: Path) -> None:
    reserved = ("27_86410_0", "36_86526_0", "40_86625_0", "org_007", "org_008", "org_009", "org_010")
    config = read_config(path)
    for source in config.sources + (config.propagation.unlabelled if config.propagation else ()):
        if "Pseudo-label" in source.folder:
            names = [f"Data-1_{case}-dcm_1" for case in reserved]
            taken = [
                n
                for n in names
                if any(part in n for part in source.include) and not any(part in n for part in source.exclude)
            ]
            by_origin = [
                n
                for n in (f"Data-1_radiopaedia_org_covid-19-pneumonia-{c}-dcm_1" for c in reserved[:3])
                if any(part in n for part in source.include) and not any(part in n for part in source.exclude)
            ]
            assert taken == []
            assert by_origin == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3\n" + MINIMAL, "unknown key 'epoch'; did you mean 'epochs'"),
        (MINIMAL + 'trun = "none"\n', "unknown key 'trun'; did you mean 'turn'"),
        ('epochs = "many"\n' + MINIMAL, "epochs is 'many', expected int"),
        ("epochs = true\n" + MINIMAL, "epochs is True, expected int"),
        ("sizes = [350]\n" + MINIMAL, r"sizes are \(350,\), expected multiples of 32"),
        ('lr_schedule = "linear"\n' + MINIMAL, "expected one of compounding, step, constant, cosine"),
        ('name = "x"\nsources = []\n', r"has no \[\[sources\]\]"),
        ("[[sources]]\nname = 'a'\nfolder = 'f'\n", "lacks name"),
        ("name = \n", "is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration at"):
        read_config(tmp_path / "none.toml")


def test_overrides_reach_nested_values(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    config = read_config(path, ["epochs=3", "augment.mirror=0.5", "init_from=runs/a.safetensors"])
    assert (config.epochs, config.augment.mirror, config.init_from) == (3, 0.5, "runs/a.safetensors")
    with pytest.raises(ConfigError, match="expected key=value"):
        read_config(path, ["epochs"])
