"""The map of the house names rooms that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = [ROOT, *(ROOT / part / f"infnet_{part}" for part in ("runtime", "train", "export"))]


def missing(text: str) -> list[str]:
    """Paths in backquotes that are neither in the root nor in one of the packages."""
    named = sorted(set(re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*(?:/|\.py)?)`", text)))
    paths = [name for name in named if "/" in name]
    assert paths or "`" not in text
    return [p for p in paths if not any((place / q).exists() for place in PLACES for q in (p, f"{p}.py"))]


def test_every_place_named_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(re.findall("`", text)) > 100
    assert missing(text) == []


def test_the_guard_can_fail() -> None:
    assert missing("see `scan/grid` and `scan/no_such_room`") == ["scan/no_such_room"]
