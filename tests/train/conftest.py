"""Small training data and a small network for the tests of the loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infnet_train.networks import NETWORKS
from small_network import MAKERS, NAME
from train_slices import write_slice


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Data folder with a source ``small`` of six slices."""
    root = tmp_path / "data"
    for i in range(6):
        write_slice(root / "small", f"s{i}", seed=i)
    return root


@pytest.fixture(scope="module")
def small_network() -> Iterator[str]:
    """Name of a network that the registry knows for the tests of this file; it knows ``CLASSES_NAME`` too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, maker in MAKERS.items():
            patch.setitem(NETWORKS, name, maker)
        yield NAME
