"""Builds ``fake_cuda.c``, a CUDA driver without a GPU, and runs programs with it."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def fake_driver(folder: Path) -> Path:
    """Build ``libcuda.so.1`` -> its folder; skips without gcc."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("no gcc to make a driver with")
    library = folder / "libcuda.so.1"
    source = folder / "fake_cuda.c"
    source.write_text(SOURCE.read_text() + _stubs(SOURCE.read_text()))
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return folder


def _stubs(source: str) -> str:
    """PyCUDA is linked to some two hundred functions; those that are not used answer 'not supported'."""
    spec = find_spec("pycuda")
    if spec is None or not spec.submodule_search_locations or shutil.which("nm") is None:
        return ""
    have = set(re.findall(r"\b(cu\w+)\(", source))
    wanted: set[str] = set()
    for library in Path(spec.submodule_search_locations[0]).glob("_driver*.so"):
        done = subprocess.run(["nm", "-D", "-u", str(library)], capture_output=True, text=True, check=True)
        wanted |= set(re.findall(r"\bU (cu[A-Z]\w+)", done.stdout))
    return "".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(wanted - have))


def run_with(driver: Path, program: str, *arguments: str) -> str:
    """Run Python with the driver -> what it printed."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
