"""Links between pages lead to files, and what pages name is what the code names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in ("", "docs", "docs/decisions", "train", "export", "runtime", "models", "tests/golden")
    for page in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def missing(page: Path, text: str) -> list[str]:
    links = (link.partition("#")[0] for link in LINK.findall(text) if "://" not in link)
    return [link for link in links if link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    assert missing(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_seen() -> None:
    text = "[a](ARCHITECTURE.md#data) [b](https://example.org/x.md) ![c](no/picture.png)"
    assert missing(ROOT / "README.md", text) == ["no/picture.png"]


def test_the_page_on_own_data_is_found_from_both_readmes() -> None:
    for readme in ("README.md", "train/README.md"):
        assert "docs/own-data.md)" in (ROOT / readme).read_text()


def test_the_backbone_that_recipes_name_is_linked() -> None:
    named = {
        name
        for recipe in (ROOT / "train/configs").glob("*.toml")
        for name in re.findall(r"res2net\S+\.pth", recipe.read_text())
    }
    (name,) = named
    assert re.search(rf"\]\(https://\S+/{re.escape(name)}\)", (ROOT / "train/README.md").read_text())
