"""Small training data for the tests of the loop."""

from pathlib import Path

import pytest

from train_slices import write_slice


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Data folder with a source ``small`` of six slices."""
    root = tmp_path / "data"
    for i in range(6):
        write_slice(root / "small", f"s{i}", seed=i)
    return root
