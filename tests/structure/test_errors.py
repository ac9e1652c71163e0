"""Every error number in the code is explained once, under the exit code that is its first digit."""

import ast
import re
from pathlib import Path

import pytest

import infnet_export.cli  # noqa: F401 - so that every error class exists
import infnet_train.data.pictures
import infnet_train.errors  # noqa: F401
from infnet_runtime.errors import InfnetError

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for part in ("runtime", "export", "train") for p in (ROOT / part).rglob("*.py"))


def classes() -> dict[str, type[InfnetError]]:
    found, todo = {}, [InfnetError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo += kind.__subclasses__()
    return found


def raised(source: str) -> list[tuple[str | None, int]]:
    """(class, code) of every ``code=<number>`` in a source, and of numbers kept in tables."""
    found: list[tuple[str | None, int]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else None
            for keyword in node.keywords:
                if keyword.arg == "code":
                    numbers = [n.value for n in ast.walk(keyword.value) if isinstance(n, ast.Constant)]
                    found += [(name, n) for n in numbers if isinstance(n, int) and n >= 1000]
    return found


NOT_CODES = {8192, 3600}  # the largest side of a picture, the seconds of an hour


def codes_in_code() -> set[int]:
    """Every number that looks like a code; readers of headers pass them on instead of naming them."""
    trees = [ast.parse(path.read_text("utf-8")) for path in SOURCES]
    constants = (n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return {n for n in constants if type(n) is int and 3000 < n < 9100} - NOT_CODES


def test_numbers_and_documentation_agree() -> None:
    text = (ROOT / "docs/errors.md").read_text("utf-8")
    documented = [int(n) for n in re.findall(r"^\| (\d{4}) \|", text, re.M)]
    assert len(documented) == len(set(documented))
    assert set(documented) == codes_in_code()


def test_first_digit_is_the_exit_code() -> None:
    known = classes()
    checked = 0
    for path in SOURCES:
        for name, code in raised(path.read_text("utf-8")):
            if name in known:
                assert known[name].exit_code == code // 1000, f"{path.name}: {name} {code}"
                checked += 1
    assert checked > 60


def named_in_tests() -> set[int]:
    """Numbers that tests name, as numbers or inside a text such as ``INF-3001``, this file aside."""
    found: set[int] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant):
                found |= {int(n) for n in re.findall(r"(?<!\d)\d{4}(?!\d)", str(node.value))}
    return found


def test_every_number_is_named_by_a_test() -> None:
    assert sorted(codes_in_code() - named_in_tests()) == []


def test_the_reader_of_codes_can_see_a_new_one() -> None:
    assert raised("raise InputError('x', code=3999)") == [("InputError", 3999)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_no_source_speaks_of_where_it_was_made(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "/work/" not in text
    assert "/root/" not in text
