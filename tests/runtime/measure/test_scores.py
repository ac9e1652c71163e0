"""Scores: each edge of each bin, floors, lobes and thirds."""

import math

import numpy as np
import pytest

from builders import LEFT, RIGHT
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.definitions import CTSS, QUARTERS
from infnet_runtime.measure.tally import LOBES


@pytest.mark.parametrize(
    ("bins", "edges"),
    [
        (CTSS, [(0, 0, 1), (5, 2, 2), (26, 3, 3), (51, 4, 4), (75, 4, 5)]),
        (QUARTERS, [(1, 1, 1), (25, 1, 2), (50, 2, 3), (75, 3, 4)]),
    ],
)
def test_each_edge_of_each_bin(bins: object, edges: list[tuple[float, int, int]]) -> None:
    """Score at the edge and right above it; right below is the one of the bin before."""
    score = bins.score  # type: ignore[attr-defined]
    below = 0
    for edge, at, above in edges:
        if edge:
            assert score(math.nextafter(edge, -1)) == below
        assert score(edge) == at
        assert score(math.nextafter(edge, 101)) == above
        below = above
    assert score(100) == below


def lobes_with(percents: dict[str, float], voxels: int = 4000) -> tuple[np.ndarray, ...]:
    """Lungs of five lobes, one above the other, with shares of infection in each."""
    shape = 5, 1, voxels
    lobes = np.broadcast_to(np.arange(1, 6, dtype=np.uint8)[:, None, None], shape).copy()
    lungs = np.where(lobes <= 2, LEFT, RIGHT).astype(np.uint8)
    infection = np.zeros(shape, np.uint8)
    for name, number in LOBES.items():
        infection[number - 1, 0, : round(percents[name] / 100 * voxels)] = 1
    return lungs, infection, lobes


def test_scores_of_lobes_add_up_by_the_printed_bins() -> None:
    percents = dict(zip(LOBES, (0.0, 4.0, 26.0, 51.0, 80.0), strict=True))
    lungs, infection, lobes = lobes_with(percents)
    hu = np.full(lungs.shape, -600, np.int16)
    hu[3, 0, :1200] = 0  # 30 % of the fourth lobe is dense
    q = quantify(infection, lungs, 0.01, hu=hu, lobes=lobes)
    assert vars(q.scores) | {"zone_score_0_24_geometric": None} == {
        "ctss_0_25": 0 + 1 + 3 + 4 + 5,
        "lss_0_20": 0 + 1 + 2 + 3 + 4,
        "lhos_0_20": 2,
        "tss_0_20": 0 + 1 + 2 + 3 + 4,
        "zone_score_0_24_geometric": None,
    }


@pytest.mark.parametrize(
    ("marked", "voxel_ml", "score"), [(4, 0.02, 0), (5, 0.02, 1), (3, 1.0, 0), (4, 1.0, 1)]
)
def test_a_stray_mark_scores_no_lobe(marked: int, voxel_ml: float, score: int) -> None:
    """Below 0.1 ml or 0.1 % of the lobe, which has 4000 voxels, a lobe is free."""
    lungs, infection, lobes = lobes_with(dict.fromkeys(LOBES, 0.0))
    infection[0, 0, :marked] = 1
    assert quantify(infection, lungs, voxel_ml, lobes=lobes).scores.ctss_0_25 == score


def test_a_lobe_that_was_removed_leaves_no_score_and_a_reason() -> None:
    lungs, infection, lobes = lobes_with(dict.fromkeys(LOBES, 50.0))
    lungs[3] = 0
    q = quantify(infection, lungs, 0.01, lobes=lobes)
    assert q.lobes
    assert q.lobes["right_middle"] is None
    assert q.scores.ctss_0_25 is None
    assert q.reasons["lobes.right_middle"] == q.reasons["scores.ctss_0_25"] == "lobe_missing"


@pytest.mark.parametrize("slices", [3, 4, 6, 7, 31])
def test_zones_are_thirds_of_each_lungs_own_height(slices: int) -> None:
    lungs = np.zeros((slices + 4, 2, 10), np.uint8)
    lungs[1 : slices + 1, :, :4] = RIGHT
    lungs[3 : slices + 3, :, 6:] = LEFT
    infection = np.zeros_like(lungs)
    infection[1, :, :4] = 1  # the lowest slice of the right lung
    infection[slices + 2, :, 6:8] = 1  # half of the highest of the left
    q = quantify(infection, lungs, 0.01)
    assert q.zones
    third = [k * 3 // slices for k in range(slices)] if slices % 3 == 0 else None
    lowest = q.zones["right_lower"].infection_percent
    assert lowest == pytest.approx(100 / (third.count(0) if third else round(slices / 3)))
    hit = {name for name, zone in q.zones.items() if zone.infection_percent}
    assert hit == {"right_lower", "left_upper"}
    assert q.scores.zone_score_0_24_geometric == sum(zone.score for zone in q.zones.values())


def test_two_slices_have_no_thirds() -> None:
    lungs = np.ones((2, 2, 10), np.uint8)
    lungs[:, :, 5:] = LEFT
    q = quantify(lungs * 0, lungs, 0.01)
    assert q.zones is q.scores.zone_score_0_24_geometric is None
    assert q.reasons["zones"] == q.reasons["scores.zone_score_0_24_geometric"] == "too_few_slices"
