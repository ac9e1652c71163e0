"""``benchmarks/flip_check.py``: its correlation, and the table that it made for the page."""

import doctest
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML
from infnet_runtime.measure.flip import MOST_DISAGREEMENT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flip_check() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("flip_check")
    sys.path.remove(str(ROOT / "benchmarks"))


def test_the_correlation(flip_check: ModuleType) -> None:
    assert doctest.testmod(flip_check).failed == 0
    assert flip_check.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert flip_check.spearman([1, 1, 2], [5, 5, 9]) == 1


def test_the_page_has_the_numbers_of_the_recorded_run(flip_check: ModuleType) -> None:
    recorded = json.loads((ROOT / "benchmarks/results/flip-check-0.3.0.json").read_text("utf-8"))
    page = (ROOT / "docs/quantification.md").read_text("utf-8")
    table = flip_check.to_markdown(recorded["rows"]).partition("\n\n")[0]
    assert table in page, "write it again from the recorded run"
    assert recorded["limit"] == MOST_DISAGREEMENT
    above = [row for row in recorded["rows"] if row["disagreement"] > MOST_DISAGREEMENT]
    # With less than that in either mask single voxels decide, and there is no flag.
    assert all(row["flagged"] for row in above if row["ml"] >= COMPONENT_FLOOR_ML)
    assert not any(row["flagged"] for row in recorded["rows"] if row not in above)
