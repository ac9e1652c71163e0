"""Scores over lobes and over thirds of the lungs, from shares that are not rounded."""

from collections.abc import Mapping

import numpy as np

from infnet_runtime.measure.definitions import (
    CTSS,
    LOBE_FLOOR_ML,
    LOBE_FLOOR_PERCENT,
    QUARTERS,
)
from infnet_runtime.measure.result import Burden, Scores, Zone
from infnet_runtime.measure.tally import RegionTally

_LOBE_SCORES = ("ctss_0_25", "lss_0_20", "lhos_0_20", "tss_0_20")
ZONE_SCORE = "zone_score_0_24_geometric"
_THIRDS = ("lower", "middle", "upper")


def lobe_scores(
    lobes: Mapping[str, Burden | None] | None,
) -> tuple[dict[str, int | None], dict[str, str]]:
    """Scores over all five lobes, and why they are missing.

    Parameters
    ----------
    lobes
        Name to numbers; None where no lobe mask was given.
    """
    if lobes is None:
        return dict.fromkeys(_LOBE_SCORES), dict.fromkeys(_LOBE_SCORES, "lobe_mask_missing")
    there = [lobe for lobe in lobes.values() if lobe is not None]
    if len(there) < len(lobes):
        return dict.fromkeys(_LOBE_SCORES), dict.fromkeys(_LOBE_SCORES, "lobe_missing")
    shares = [_above_floor(lobe.infection_ml, lobe.infection_percent) for lobe in there]
    dense = [_above_floor(lobe.high_opacity_ml, lobe.pho_percent) for lobe in there]
    infected = None if None in shares else [share for share in shares if share is not None]
    consolidated = None if None in dense else [share for share in dense if share is not None]
    scores: dict[str, int | None] = {
        "ctss_0_25": None if infected is None else sum(map(CTSS.score, infected)),
        "lss_0_20": None if infected is None else sum(map(QUARTERS.score, infected)),
        "lhos_0_20": None if consolidated is None else sum(map(QUARTERS.score, consolidated)),
        "tss_0_20": None if infected is None else sum(map(QUARTERS.score, infected)),
    }
    lacks_size = infected is None
    why = "no_voxel_size" if lacks_size else "no_hu"
    return scores, {name: why for name, score in scores.items() if score is None}


def _above_floor(ml: float | None, percent: float | None) -> float | None:
    if ml is None or percent is None:
        return None
    return percent if ml >= LOBE_FLOOR_ML and percent >= LOBE_FLOOR_PERCENT else 0.0


def zones_of(sides: Mapping[str, RegionTally]) -> dict[str, Zone] | None:
    """Thirds of each lung's height, from its slices; None where a third has no lung.

    A slice belongs to the third that holds its middle.
    """
    zones = {}
    for side, part in sides.items():
        with_lung = np.flatnonzero(part.lung_by_slice)
        first, height = int(with_lung[0]), int(with_lung[-1] - with_lung[0] + 1)
        third = (2 * np.arange(height) + 1) * 3 // (2 * height)
        whole = slice(first, first + height)
        for number, name in reversed(list(enumerate(_THIRDS))):
            lung, infected = (
                int(counts[whole][third == number].sum())
                for counts in (part.lung_by_slice, part.infected_by_slice)
            )
            if not lung:
                return None
            percent = 100 * infected / lung
            zones[f"{side}_{name}"] = Zone(percent, QUARTERS.score(percent))
    return zones


def scores_of(
    lobes: Mapping[str, Burden | None] | None, zones: Mapping[str, Zone] | None, no_zones: str
) -> tuple[Scores, dict[str, str]]:
    """All scores, and why some are missing.

    Parameters
    ----------
    no_zones
        Why there are no zones where there are none.
    """
    found, reasons = lobe_scores(lobes)
    if zones is None:
        found[ZONE_SCORE], reasons[ZONE_SCORE] = None, no_zones
    else:
        found[ZONE_SCORE] = sum(zone.score for zone in zones.values())
    return Scores(**found), {f"scores.{name}": why for name, why in reasons.items()}
