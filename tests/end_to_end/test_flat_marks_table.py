"""``benchmarks/flat_marks.py``: a volume with known pieces, and the limit that the pages name."""

import doctest
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from infnet_runtime.measure.definitions import FLATTEST

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flat_marks() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("flat_marks")
    sys.path.remove(str(ROOT / "benchmarks"))


def test_each_limit_takes_out_what_is_flatter(flat_marks: ModuleType) -> None:
    assert doctest.testmod(flat_marks).failed == 0
    lungs = np.ones((9, 40, 60), np.bool_)
    first, mask = np.zeros_like(lungs), np.zeros_like(lungs)
    first[2:6, 5:15, 5:15] = mask[2:6, 5:15, 5:15] = True  # a lesion
    mask[6, 20:39, 30:49] = True  # 21.4 mm wide, 5 mm high
    second = np.zeros_like(lungs)
    second[2:6, 5:15, 5:10] = True
    covered = np.arange(9) < 8
    size = flat_marks.Voxels(ml=0.005, pixel_mm2=1.0, plane_mm=5.0)
    known = importlib.import_module("readers.cases").VOLUMES[0]
    case = importlib.import_module("readers.cases").Case(
        known, size.ml, np.zeros(lungs.shape, np.uint8), lungs, first, second, covered
    )
    row = flat_marks.labelled_rows(case, mask, lungs, size)
    assert [(round(one["flatness"], 1), one["true"]) for one in row["shapes"]["infnet"]] == [
        (4.3, 0.0),
        (0.6, 1.0),
    ]
    assert [r["ml_in_healthy_slices"] for r in row["limits"]] == pytest.approx([361 * 0.005, 0, 0, 0, 1.805])
    assert [r["dice"][0] for r in row["limits"]] == pytest.approx([800 / 1161, 1, 1, 1, 800 / 1161])
    assert [r["lesions_found"] for r in row["limits"]] == [1] * 5
    healthy = flat_marks.healthy_rows("healthy", [(mask, lungs, size), (mask, lungs, size)])
    assert healthy["limits"][0]["ml"] == pytest.approx(2 * 761 * 0.005)
    assert healthy["limits"][2]["ml"] == pytest.approx(2 * 400 * 0.005)
    by = {"model": "m", "model_version": "1", "backend": "b", "precision": "p"}
    report = json.loads(json.dumps({"by": by, "cases": [row], "healthy": [healthy]}, allow_nan=False))
    text = flat_marks.to_markdown(report)
    assert "| infnet | 2 | 4.3 (1.8 ml, 5 mm high, 0 % true), 0.6 (2.0 ml, 20 mm high, 100 % true) |" in text
    assert "| healthy | ml, all false | 7.6 | 4.0 | 4.0 | 4.0 | 7.6 |" in text


def test_the_pages_name_the_limit() -> None:
    for page, words in (
        ("docs/quantification.md", r"\*\*([\d.]+) times their height\*\*"),
        ("docs/flags.md", r"flat marks were left out: pieces more than ([\d.]+) times"),
        ("docs/decisions/0022-flat-marks.md", r"with ([\d.]+) as the limit"),
        ("CHANGELOG.md", r"Flat marks, pieces more than ([\d.]+) times"),
    ):
        assert re.findall(words, (ROOT / page).read_text("utf-8")) == [f"{FLATTEST:g}"], page
