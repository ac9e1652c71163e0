"""Every flag is explained to its reader."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def flags_in_the_code() -> dict[str, bool]:
    """Name of each flag made anywhere in the runtime, and whether it warns."""
    found: dict[str, bool] = {}
    for path in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Flag":
                name = node.args[0] if node.args else None
                assert isinstance(name, ast.Constant), (
                    f"{path}: the name of a flag is written where it is made"
                )
                warns = [k.value for k in node.keywords if k.arg == "warns"]
                found[str(name.value)] = not warns or bool(getattr(warns[0], "value", True))
    return found


def test_each_flag_is_in_the_docs_with_its_gravity_and_none_else() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", (ROOT / "docs/flags.md").read_text(), re.MULTILINE)
    assert {name: warns == "yes" for name, warns in rows} == flags_in_the_code()
