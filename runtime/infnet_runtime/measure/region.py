"""The numbers of one region from its counts, each with what it needs and why it is missing without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from infnet_runtime.measure.definitions import (
    COMPONENT_FLOOR_ML,
    HIGH_OPACITY_ABOVE_HU,
    MASS_DENSITIES,
)
from infnet_runtime.measure.result import Burden, ClassBurden
from infnet_runtime.measure.tally import LOWEST_HU, Counts, RegionTally

_HU = np.arange(LOWEST_HU, -LOWEST_HU)
_DENSITY = np.clip((_HU + 1000) / 1000, *MASS_DENSITIES)  # g per ml
_HIGH = HIGH_OPACITY_ABOVE_HU + 1 - LOWEST_HU  # of a histogram, the first value that is high opacity
# A volume that is the floor itself counts, whatever the last bit of the voxel's volume.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ruler:
    """What turns counts into sizes.

    Parameters
    ----------
    voxel_ml : ml
        None where the scan has no voxel size.
    slice_mm : mm
        From slice to slice along the body axis; None where it is not known.
    """

    voxel_ml: float | None
    slice_mm: float | None = None


def numbers_of(name: str, part: RegionTally, ruler: Ruler) -> tuple[Burden, dict[str, str]]:
    """Numbers of a region that has lung, and reasons for those that cannot be given.

    Parameters
    ----------
    name
        Stands before the names in the reasons.
    """
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    lacking = _lacking(part, ruler)
    for number in fields(Burden):
        needs, compute = _NUMBERS[number.name]
        why = next((lacking[need] for need in needs if need in lacking), None)
        values[number.name] = None if why else compute(part, ruler)
        if why:
            reasons[f"{name}.{number.name}"] = why
    return Burden(**values), reasons  # type: ignore[arg-type]  # whole numbers where the field has them


def outside_the_picture(name: str, ruler: Ruler) -> tuple[Burden, dict[str, str]]:
    """Numbers of a lung of which nothing was scanned: it has 0 ml of lung here, and nothing else is known."""
    assert ruler.voxel_ml is not None
    missing = [number.name for number in fields(Burden) if number.name not in ("lung_ml", "infection_ml")]
    return Burden(0.0, 0.0), {f"{name}.{number}": "outside_the_picture" for number in missing}


def split_by_hu(name: str, part: RegionTally, ruler: Ruler, why: str) -> tuple[ClassBurden, dict[str, str]]:
    """Infection of a region up to the limit of high opacity, and above; as :func:`kinds_of`."""
    high = _above(part.infected_hu)
    return kinds_of(name, part.infected - high, high, ruler.voxel_ml, why)


def kinds_of(
    name: str, ground_glass: int, consolidation: int, voxel_ml: float | None, why: str
) -> tuple[ClassBurden, dict[str, str]]:
    """Numbers of voxels as two kinds of infection, and reasons for those that cannot be given.

    Parameters
    ----------
    why
        There is no share where there is none of both.
    """
    reasons: dict[str, str] = {}
    infected = ground_glass + consolidation
    ml = [None if voxel_ml is None else n * voxel_ml for n in (ground_glass, consolidation)]
    shares = [100 * n / infected if infected else None for n in (ground_glass, consolidation)]
    if voxel_ml is None:
        reasons |= dict.fromkeys((f"{name}.ggo_ml", f"{name}.consolidation_ml"), "no_voxel_size")
    if not infected:
        kinds = ("ggo_percent_of_infection", "consolidation_percent_of_infection")
        reasons |= {f"{name}.{kind}": why for kind in kinds}
    return ClassBurden(ml[0], ml[1], shares[0], shares[1]), reasons


def _lacking(part: RegionTally, ruler: Ruler) -> dict[str, str]:
    """What there is not, to the reason for it."""
    lacking = {}
    if ruler.voxel_ml is None:
        lacking["size"] = "no_voxel_size"
    if ruler.slice_mm is None:
        lacking["height"] = "slice_distance_unknown"
    if part.lung_hu is None:
        lacking["hu"] = "no_hu"
    if not part.infected:
        lacking["infection"] = "no_infection"
    if part.infected and part.infected == part.lung:
        lacking["reference"] = "no_reference"
    return lacking


def _ml(voxels: Callable[[RegionTally], int]) -> Callable[[RegionTally, Ruler], float]:
    def compute(part: RegionTally, ruler: Ruler) -> float:
        return voxels(part) * _size(ruler)

    return compute


def _size(ruler: Ruler) -> float:
    assert ruler.voxel_ml is not None
    return ruler.voxel_ml


def _above(counts: Counts | None) -> int:
    """Voxels of high opacity."""
    return int(_given(counts)[_HIGH:].sum())


def _given(counts: Counts | None) -> Counts:
    assert counts is not None  # who needs HU says so in its line
    return counts


def _mean(counts: Counts | None) -> float:
    given = _given(counts)
    return int((given * _HU).sum()) / int(given.sum())


def _sd(counts: Counts | None) -> float:
    given = _given(counts)
    # As whole numbers of Python, which do not overflow and lose nothing.
    n, total, squares = int(given.sum()), int((given * _HU).sum()), int((given * _HU**2).sum())
    return float(max(0, n * squares - total**2) ** 0.5 / n)


def _percentile(counts: Counts | None, percent: int) -> int:
    """The lowest HU that so many of the voxels do not exceed."""
    upto = np.cumsum(_given(counts))
    least = -(-int(upto[-1]) * percent // 100)  # rounded up
    return int(np.searchsorted(upto, least)) + LOWEST_HU


def _mass_g(counts: Counts | None, voxel_ml: float) -> float:
    return float((_given(counts) * _DENSITY).sum()) * voxel_ml


def _excess_g(part: RegionTally, ruler: Ruler) -> float:
    if not part.infected:
        return 0.0
    healthy = _percentile(_given(part.lung_hu) - _given(part.infected_hu), 50)
    as_healthy = part.infected * float(_DENSITY[healthy - LOWEST_HU])
    return _mass_g(part.infected_hu, _size(ruler)) - as_healthy * _size(ruler)


def _component_count(part: RegionTally, ruler: Ruler) -> int:
    least = COMPONENT_FLOOR_ML / _size(ruler) * (1 - _ROUNDING)
    return sum(voxels >= least for voxels in part.pieces)


def _extent_mm(part: RegionTally, ruler: Ruler) -> float:
    assert ruler.slice_mm is not None
    hit = np.flatnonzero(part.infected_by_slice)
    return int(hit[-1] - hit[0] + 1) * ruler.slice_mm


def _centroid_percent(part: RegionTally, _: Ruler) -> float:
    lung = np.flatnonzero(part.lung_by_slice)
    first, height = int(lung[0]), int(lung[-1] - lung[0] + 1)
    moment = int((part.infected_by_slice * np.arange(len(part.infected_by_slice))).sum())
    return 100 * (moment / part.infected - first + 0.5) / height


_Number = tuple[tuple[str, ...], Callable[[RegionTally, Ruler], float]]
_NUMBERS: Mapping[str, _Number] = {
    "lung_ml": (("size",), _ml(lambda p: p.lung)),
    "infection_ml": (("size",), _ml(lambda p: p.infected)),
    "infection_percent": ((), lambda p, _: 100 * p.infected / p.lung),
    "high_opacity_ml": (("size", "hu"), _ml(lambda p: _above(p.infected_hu))),
    "pho_percent": (("hu",), lambda p, _: 100 * _above(p.infected_hu) / p.lung),
    "high_opacity_fraction": (("hu", "infection"), lambda p, _: _above(p.infected_hu) / p.infected),
    "lung_mean_hu": (("hu",), lambda p, _: _mean(p.lung_hu)),
    "lung_sd_hu": (("hu",), lambda p, _: _sd(p.lung_hu)),
    "lung_p10_hu": (("hu",), lambda p, _: _percentile(p.lung_hu, 10)),
    "lung_median_hu": (("hu",), lambda p, _: _percentile(p.lung_hu, 50)),
    "lung_p90_hu": (("hu",), lambda p, _: _percentile(p.lung_hu, 90)),
    "infection_mean_hu": (("hu", "infection"), lambda p, _: _mean(p.infected_hu)),
    "infection_sd_hu": (("hu", "infection"), lambda p, _: _sd(p.infected_hu)),
    "infection_p10_hu": (("hu", "infection"), lambda p, _: _percentile(p.infected_hu, 10)),
    "infection_median_hu": (("hu", "infection"), lambda p, _: _percentile(p.infected_hu, 50)),
    "infection_p90_hu": (("hu", "infection"), lambda p, _: _percentile(p.infected_hu, 90)),
    "mass_g": (("size", "hu"), lambda p, r: _mass_g(p.lung_hu, _size(r))),
    "infection_mass_g": (("size", "hu"), lambda p, r: _mass_g(p.infected_hu, _size(r))),
    "excess_mass_g": (("size", "hu", "reference"), _excess_g),
    "component_count": (("size",), _component_count),
    "largest_component_ml": (("size", "infection"), _ml(lambda p: p.pieces[0])),
    "craniocaudal_extent_mm": (("size", "height", "infection"), _extent_mm),
    "centroid_z_percent_of_lung": (("infection",), _centroid_percent),
}
"""Each number: what it needs, the most fundamental first, and how it is computed."""
