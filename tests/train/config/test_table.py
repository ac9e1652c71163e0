"""The table of keys is that of the code, and says something about each."""

from pathlib import Path

from typer.testing import CliRunner

from infnet_train.cli.main import app
from infnet_train.config.table import recipe_keys

PAGE = Path(__file__).parents[3] / "docs" / "recipe.md"


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text("utf-8") == recipe_keys(), "write it again: infnet-train keys > docs/recipe.md"


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(app, ["keys"])
    assert (done.exit_code, done.stdout) == (0, recipe_keys())


def test_every_row_has_a_key_a_type_a_default_and_a_sentence() -> None:
    rows = [line for line in recipe_keys().splitlines() if line.startswith("| `") and line.count(" | ") == 3]
    assert len(rows) > 60
    for row in rows:
        key, kind, default, text = (cell.strip() for cell in row.strip("|").split(" | "))
        assert key.startswith("`"), row
        assert kind.startswith(("a ", "text", "tables", "true", "`")), row
        assert default == "needed" or default == "none" or default.startswith(("`", "its own")), row
        assert len(text) > 5, row
    assert any(row.startswith("| `turn` |") and '"transpose_flip"' in row for row in rows)
