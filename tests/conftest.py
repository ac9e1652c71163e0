"""What tests of all components share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = Path(os.environ.get("INFNET_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no data sets at {root}; set INFNET_DATA to their folder")
    return root
