"""Where the C++ files are, as CMake and people ask for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from infnet_runtime.embedding import place
from infnet_runtime.version import __version__


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infnet_runtime", *words], capture_output=True, text=True, check=False
    )


def test_the_folder_is_printed_and_has_the_package() -> None:
    folder = Path(ask("--cmake-dir").stdout.removesuffix("\n"))
    assert folder == place.cmake_dir()
    assert {file.name for file in folder.iterdir()} == {"infnetConfig.cmake", "infnetConfigVersion.cmake"}
    assert (folder.parent / "include" / "infnet" / "infnet.hpp").is_file()


def test_in_a_wheel_the_files_lie_beside_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cmake").mkdir()
    monkeypatch.setattr(place, "__file__", str(tmp_path / "place.py"))
    assert place.cmake_dir() == tmp_path / "cmake"


def test_version_and_wrong_use() -> None:
    assert ask("--version").stdout == f"infnet {__version__}\n"
    done = ask()
    assert done.returncode == 2
    assert "infnet-infer segments a scan" in done.stderr
