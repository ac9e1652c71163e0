"""The CMake package: which Python it finds, what it refuses, and what it says then. Nothing is compiled."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import infnet_runtime
from embedded import need_compiler
from infnet_runtime.embedding.place import cmake_dir, embedding_folder

PROJECT = """cmake_minimum_required(VERSION 3.18)
project(host LANGUAGES CXX)
find_package(infnet {version} CONFIG REQUIRED)
get_target_property(definitions infnet::infnet INTERFACE_COMPILE_DEFINITIONS)
message("found ${{infnet_VERSION}}: ${{definitions}}")
"""
HERE = f"-DPython_EXECUTABLE={sys.executable}"


def configured(folder: Path, *options: str, version: str = "") -> str:
    """What CMake says of a project that asks for infnet."""
    need_compiler()
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(PROJECT.format(version=version))
    done = subprocess.run(
        ["cmake", "-S", folder, "-B", folder / "build", *options], capture_output=True, text=True, check=False
    )
    return " ".join((done.stdout + done.stderr).split())


def as_in_a_wheel(site_packages: Path) -> Path:
    """Put infnet where pip puts it; gives the folder of its CMake package."""
    package = site_packages / "infnet_runtime"
    shutil.copytree(
        Path(infnet_runtime.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(embedding_folder(), package / "embedding", dirs_exist_ok=True)
    return package / "embedding" / "cmake"


def environment(folder: Path, *, with_packages: bool) -> Path:
    """A new venv, which sees the packages of this one or none; gives its site-packages."""
    venv.create(folder, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    if with_packages:
        (site_packages / "more.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return site_packages


def test_a_checkout(tmp_path: Path) -> None:
    said = configured(
        tmp_path / "host",
        HERE,
        f"-Dinfnet_DIR={cmake_dir()}",
        version=infnet_runtime.__version__.rpartition(".")[0],
    )
    assert f"found {infnet_runtime.__version__}:" in said
    assert f'INFNET_PYTHON_EXECUTABLE="{sys.executable}"' in said
    assert f'INFNET_PACKAGES="{Path(infnet_runtime.__file__).parents[1]}"' in said


@pytest.mark.slow
def test_a_wheel_in_an_environment_knows_its_python(tmp_path: Path) -> None:
    site_packages = environment(tmp_path / "venv", with_packages=True)
    said = configured(tmp_path / "host", f"-Dinfnet_DIR={as_in_a_wheel(site_packages)}")
    assert f'INFNET_PYTHON_EXECUTABLE="{tmp_path / "venv" / "bin" / "python"}"' in said
    assert f'INFNET_PACKAGES="{site_packages}"' in said


@pytest.mark.slow
def test_a_folder_of_packages(tmp_path: Path) -> None:
    folder = as_in_a_wheel(tmp_path / "target")
    said = configured(tmp_path / "host", HERE, f"-Dinfnet_DIR={folder}")
    assert f'INFNET_PACKAGES="{tmp_path / "target"}"' in said


@pytest.mark.slow
def test_a_python_without_the_packages_is_refused(tmp_path: Path) -> None:
    environment(tmp_path / "venv", with_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    said = configured(tmp_path / "host", f"-DPython_EXECUTABLE={python}", f"-Dinfnet_DIR={cmake_dir()}")
    assert f"{python} does not load infnet from" in said
    assert "No module named 'numpy'" in said


def test_no_python_and_another_version_are_refused(tmp_path: Path) -> None:
    said = configured(tmp_path / "no", "-DPython_EXECUTABLE=/nowhere/python", f"-Dinfnet_DIR={cmake_dir()}")
    assert "/nowhere/python does not load infnet" in said
    assert "no such file or directory" in said.lower()  # CMake's words, which began with a capital before 4
    for version in ("99.0", "0.1"):
        said = configured(tmp_path / version, HERE, f"-Dinfnet_DIR={cmake_dir()}", version=version)
        assert f'compatible with requested version "{version}"' in said
        assert "found" not in said.partition("CMake Error")[0]
