"""What tests of all components share."""

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # the workers have all cores; said before NumPy and PyTorch are loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["INFNET_CACHE"] = "off"  # no test keeps anything in the folders of the user, nor relies on it


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: the cores this container may use, and no more than eight, for their memory."""
    from infnet_runtime.cpu import usable_cores

    return min(usable_cores(), 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test named after an address: each process would know it by another name."""
    if named := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"give these tests ids that are the same in every process: {named}")


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = Path(os.environ.get("INFNET_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no data sets at {root}; set INFNET_DATA to their folder")
    return root


@pytest.fixture
def no_collector(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Without the collector of cycles: on a GPU what only it would free is freed too late.

    With all messages kept, as by a program that sends its log away later: they must hold no exception either.
    """
    caplog.set_level(logging.DEBUG)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
