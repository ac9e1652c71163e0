"""C++ programs that embed the runtime, built once for all tests."""

import sys
from pathlib import Path

import numpy as np
import pytest

from builders import chest_phantom
from embedded import Build, Given, need_compiler, run
from infnet_runtime.embedding.place import cmake_dir
from infnet_runtime.io.nifti import write_nifti
from tiny_models import mid_grey_detector

HERE = Path(__file__).parent
EXAMPLE = cmake_dir().parent / "example"


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build the programs of a folder; gives the folder they are in."""
    need_compiler()

    def built(source: Path, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("build")
        # In a checkout the example looks for .venv; the tests run with the Python that they run with.
        run("cmake", "-S", source, "-B", folder, f"-DPython_EXECUTABLE={sys.executable}", *options)
        run("cmake", "--build", folder)
        return folder

    return built


@pytest.fixture(scope="session")
def build_host(build: Build) -> Build:
    def built(*options: str) -> Path:
        return build(HERE, f"-Dinfnet_DIR={cmake_dir()}", *options) / "host"

    return built


@pytest.fixture(scope="session")
def host(build_host: Build) -> Path:
    """The program of host.cpp."""
    return build_host()


@pytest.fixture(scope="session")
def scanner_demo(build: Build) -> Path:
    """The example."""
    return build(EXAMPLE) / "scanner_demo"


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    phantom = chest_phantom()
    write_nifti(folder / "phantom.nii.gz", phantom.hu.astype(np.int16), phantom.affine)
    return Given(mid_grey_detector(folder / "model.onnx"), folder / "phantom.nii.gz")
