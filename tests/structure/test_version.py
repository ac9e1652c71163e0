"""The version stands in one place, and the changelog begins with it."""

import re
from pathlib import Path

from infnet_runtime.version import __version__

ROOT = Path(__file__).parents[2]
# A version asked of the installation is that of the last installation, not of the code that runs.
ASKED = re.compile(r"""version\(["']infnet["']\)""")


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == __version__
    assert len(set(versions)) == len(versions)


def test_the_code_asks_nobody_else_for_it() -> None:
    assert ASKED.search('importlib.metadata.version("infnet")')
    files = [path for part in ("runtime", "train", "export") for path in (ROOT / part).rglob("*.py")]
    assert files
    assert not [path for path in files if ASKED.search(path.read_text())]
