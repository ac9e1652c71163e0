"""C++ programs under test: what they are built with and given."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

Build = Callable[..., Path]


@dataclass(frozen=True)
class Given:
    """A stand-in network, and a phantom that it finds its ground glass in."""

    model: Path
    volume: Path


def need_compiler() -> None:
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("cmake or a C++ compiler is not installed")


def run(*command: str | Path) -> str:
    """What a command says; what it says in failing is the test's own failure."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} left with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
