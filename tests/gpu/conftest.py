"""A place to run sessions: stand-ins everywhere, and each backend with each package where there is a GPU."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpu_places import ON_GPU, PACKAGES, STAND_INS, Place, refuses_this_gpu
from infnet_runtime.backends.cuda.driver import find_gpu
from infnet_runtime.errors import BackendError, ModelError


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _missing(name: str) -> str:
    """Why nothing can run there, empty where it can."""
    backend, _, package = name.partition(" with ")
    try:
        find_gpu()
    except BackendError as error:
        return error.args[0]
    for wanted in (backend, PACKAGES[package]):
        if not _is_installed(wanted):
            return f"{wanted} is not installed"
    if backend == "onnxruntime":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return "the installed onnxruntime has no CUDA"
    return ""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engines lie that took long to build."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(params=[*STAND_INS, *(pytest.param(name, marks=pytest.mark.gpu) for name in ON_GPU)])
def place(request: pytest.FixtureRequest, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Open sessions here."""
    name = request.param
    if name in ON_GPU and (reason := _missing(name)):
        pytest.skip(reason)
    folder = models / name.partition(" with ")[0]
    folder.mkdir(exist_ok=True)
    made = {**STAND_INS, **ON_GPU}[name](folder, monkeypatch)
    try:
        if name in ON_GPU:
            _skip_where_refused(made)
        yield made
    finally:
        made.close()


def _skip_where_refused(place: Place) -> None:
    """Also the first session of a process, which loads libraries that stay."""
    try:
        place.open().close()
    except ModelError as error:
        if not refuses_this_gpu(error):
            raise
        pytest.skip(error.args[0])
