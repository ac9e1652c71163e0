"""Charts show the numbers that they are given."""

import re

import pytest

from infnet_runtime.measure.result import HuHistogram
from infnet_runtime.measure.slices import SliceFinding
from infnet_runtime.report.charts import hu_histogram, slice_profile


def finding(number: int, z_mm: float, lung_mm2: float, infection_mm2: float) -> SliceFinding:
    return SliceFinding(
        number, z_mm, lung_mm2, infection_mm2, 100 * infection_mm2 / lung_mm2, infection_mm2, None
    )


def path(chart: str, name: str) -> str:
    (found,) = re.findall(f'<path class="{name}" d="([^"]*)"/>', chart)
    return str(found)


def test_a_profile_has_areas_to_scale_and_the_head_at_the_top() -> None:
    found = [finding(3, -10, 10000, 0), finding(4, -5, 20000, 5000), finding(5, 0, 5000, 2500)]
    chart = slice_profile(found, 5.0)
    left = float(re.findall(r"M([\d.]+) ", path(chart, "lung"))[0])
    lung = [float(x) - left for x in re.findall(r"H([\d.]+)V", path(chart, "lung"))]
    infection = [float(x) - left for x in re.findall(r"H([\d.]+)V", path(chart, "infection"))]
    assert [x / lung[1] for x in lung] == pytest.approx([0.5, 1, 0.25], abs=0.001)
    assert [x / lung[1] for x in infection] == pytest.approx([0, 0.25, 0.125], abs=0.001)
    heights = [float(y) for y in re.findall(r"V([\d.]+)", path(chart, "lung"))]
    assert heights == sorted(heights, reverse=True), "up the page is to the head"
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11)
    assert "most infection in slice 4, 50.0 cm² at z -5 mm" in chart


def test_slices_without_lung_are_a_gap() -> None:
    found = [finding(1, 0, 100, 0), finding(2, 5, 100, 0), finding(7, 30, 100, 0)]
    chart = slice_profile(found, 5.0)
    assert path(chart, "lung").count("Z") == 2
    assert "no infection" in chart


def test_a_histogram_has_shares_of_each_region() -> None:
    counts = HuHistogram(-1050, 25, (0, 30, 10, 0), (0, 0, 2, 2))
    chart = hu_histogram(counts, -1000.0)
    tops = {
        name: [float(y) for y in re.findall(r"V([\d.]+)H", path(chart, name))]
        for name in ("lung", "infection")
    }
    floor = tops["lung"][0]
    heights = {name: [floor - y for y in found] for name, found in tops.items()}
    full = heights["lung"][1]
    assert [h / full for h in heights["lung"]] == pytest.approx([0, 1, 1 / 3, 0], abs=0.01)
    assert [h / full for h in heights["infection"]] == pytest.approx([0, 0, 2 / 3, 2 / 3], abs=0.01)
    ends = [float(x) for x in re.findall(r"H([\d.]+)", path(chart, "lung"))]
    assert float(re.findall(r"M([\d.]+) ", path(chart, "limit"))[0]) == pytest.approx(ends[1], abs=0.11)
    assert "lung most often near -1012 HU" in chart


def test_a_histogram_without_infection_has_that_of_the_lung_alone() -> None:
    chart = hu_histogram(HuHistogram(-1050, 25, (5, 1), (0, 0)), None)
    assert 'class="lung"' in chart
    assert 'class="infection"' not in chart
    assert 'class="limit"' not in chart
