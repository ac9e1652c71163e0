"""Every folder says what belongs in it and what does not, and the tests lie where the code lies."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {part: ROOT / part / f"infnet_{part}" for part in ("runtime", "export", "train")}
FOLDERS = sorted({file.parent for package in PACKAGES.values() for file in package.rglob("*.py")})
# Tests that belong to no folder of a package: of all together, and of the tree itself.
OF_NO_PACKAGE = ["end_to_end", "fuzz", "gpu", "structure"]


def sentences(docstring: str) -> int:
    prose = re.sub(r"^(>>>|\.\.\.) .*", "", docstring, flags=re.MULTILINE)
    return len(re.findall(r"\.(?=\s+[A-Z`]|\s*$)", prose))


def without_a_mirror(tests: Path, packages: dict[str, Path]) -> list[str]:
    """Folders with tests that no folder of a package corresponds to."""
    folders = {file.parent.relative_to(tests) for file in tests.rglob("test_*.py")}
    return sorted(
        str(folder)
        for folder in folders
        if folder.parts[0] not in packages
        or not packages[folder.parts[0]].joinpath(*folder.parts[1:]).is_dir()
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_folder_says_what_belongs_in_it_and_what_does_not(folder: Path) -> None:
    text = (folder / "__init__.py").read_text("utf-8")
    assert sentences(ast.get_docstring(ast.parse(text)) or "") >= 2


def test_sentences_are_counted() -> None:
    assert sentences("From masks to numbers") == 0
    assert sentences("From masks to numbers, e.g. 0.2 ml.\n\n>>> result.\n") == 1
    assert sentences("Masks to numbers.\n\nFiles belong to ``io``.") == 2


def test_tests_lie_where_the_code_lies() -> None:
    assert without_a_mirror(ROOT / "tests", PACKAGES) == OF_NO_PACKAGE


def test_a_lost_folder_is_found(tmp_path: Path) -> None:
    for name in ("runtime/io/test_a.py", "runtime/moved/test_b.py", "more/test_c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert without_a_mirror(tmp_path, PACKAGES) == ["more", "runtime/moved"]
