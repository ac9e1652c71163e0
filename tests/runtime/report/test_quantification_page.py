"""The page on quantification says of each number what the schema says, and has the limits of the code."""

import re
from pathlib import Path

from infnet_runtime.measure import region
from infnet_runtime.measure.definitions import CTSS, DEFINITIONS, QUARTERS
from quantified import page_tables, schema

PAGE = (Path(__file__).parents[3] / "docs" / "quantification.md").read_text("utf-8")
_WHY = {
    "size": "no_voxel_size",
    "height": "slice_distance_unknown",
    "hu": "no_hu",
    "infection": "no_infection",
    "reference": "no_reference",
}


def test_the_tables_are_those_of_the_schema() -> None:
    assert PAGE.endswith(page_tables()), "write them again: python tests/quantified.py"


def test_the_schema_says_why_each_number_of_a_region_may_be_null() -> None:
    for name, key in schema()["$defs"]["region"]["properties"].items():
        needs, _ = region._NUMBERS[name]
        outside = [] if name in ("lung_ml", "infection_ml") else ["outside_the_picture"]
        assert key["x-null"] == [*(_WHY[need] for need in needs), *outside], name
        assert key["x-unit"]


def test_each_reason_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(schema()["$defs"]["reason"]["enum"])


def _edges(row: str) -> list[tuple[float, bool]]:
    """Upper edges of a row of the table of scores, and whether they belong to their bin."""
    cells = re.search(rf"^\| {re.escape(row)}[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    assert cells
    found = re.findall(r"p (<=?) (\d+)", cells[1])
    return [(float(edge), sign == "<=") for sign, edge in found]


def test_limits_and_bins_are_those_of_the_code() -> None:
    assert _edges("`ctss_0_25`") == list(CTSS.upper[1:])
    assert _edges("`lss_0_20`") == list(QUARTERS.upper)
    assert f"**above {DEFINITIONS['thresholds']['high_opacity_above_hu']} HU**" in PAGE
    assert f"`{DEFINITIONS['thresholds']['name']}`" in PAGE
    floor = DEFINITIONS["lobe_floor"]
    assert f"less than {floor['ml']} ml or {floor['percent']} % counts as free" in PAGE
    low, high = DEFINITIONS["mass_density_g_per_ml"]
    assert f"clipped to {low:g} and {high:g}" in PAGE
