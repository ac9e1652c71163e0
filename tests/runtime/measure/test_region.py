"""Numbers of regions against plain array arithmetic, and the limits in HU."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import LEFT, RIGHT
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.result import Burden, Quantification
from infnet_runtime.measure.tally import LOBES
from infnet_runtime.scan.rescaled import rescaled

SIZE = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
VOXEL_ML, SLICE_MM = 0.07, 2.5


def percentile(values: np.ndarray, percent: int) -> int:
    """The lowest value that so many do not exceed."""
    return int(np.quantile(values, percent / 100, method="inverted_cdf"))


def density(values: np.ndarray | int) -> np.ndarray:
    """g per ml, as of lung."""
    return np.clip((np.asarray(values) + 1000) / 1000, 0, 1.1)


def plain_numbers(hu: np.ndarray, lung: np.ndarray, infected: np.ndarray) -> dict[str, float | None]:
    """Every number of a region, from whole arrays: the definitions of the page, written down once more."""
    infected = infected & lung
    all_hu, hu_in = hu[lung].astype(np.float64), hu[infected].astype(np.float64)
    labels = cc3d.connected_components(infected.astype(np.uint8), connectivity=26)
    pieces = np.bincount(labels.ravel())[1:] * VOXEL_ML
    with_lung, hit = np.flatnonzero(lung.any(axis=(1, 2))), np.flatnonzero(infected.any(axis=(1, 2)))
    found: dict[str, float | None] = {
        "lung_ml": len(all_hu) * VOXEL_ML,
        "infection_ml": len(hu_in) * VOXEL_ML,
        "infection_percent": 100 * len(hu_in) / len(all_hu),
        "high_opacity_ml": (hu_in > -200).sum() * VOXEL_ML,
        "pho_percent": 100 * (hu_in > -200).sum() / len(all_hu),
        "lung_mean_hu": all_hu.mean(),
        "lung_sd_hu": all_hu.std(),
        "lung_p10_hu": percentile(all_hu, 10),
        "lung_median_hu": percentile(all_hu, 50),
        "lung_p90_hu": percentile(all_hu, 90),
        "mass_g": density(all_hu).sum() * VOXEL_ML,
        "infection_mass_g": density(hu_in).sum() * VOXEL_ML,
        "excess_mass_g": 0.0,
        "component_count": (pieces >= 0.1 - 1e-9).sum(),
    }
    healthy = hu[lung & ~infected]
    if len(hu_in):
        centre = np.mean(np.nonzero(infected)[0])
        reference = density(percentile(healthy, 50)) if len(healthy) else None
        found |= {
            "high_opacity_fraction": (hu_in > -200).mean(),
            "infection_mean_hu": hu_in.mean(),
            "infection_sd_hu": hu_in.std(),
            "infection_p10_hu": percentile(hu_in, 10),
            "infection_median_hu": percentile(hu_in, 50),
            "infection_p90_hu": percentile(hu_in, 90),
            "excess_mass_g": None
            if reference is None
            else (density(hu_in).sum() - len(hu_in) * reference) * VOXEL_ML,
            "largest_component_ml": pieces.max(),
            "craniocaudal_extent_mm": (hit[-1] - hit[0] + 1) * SLICE_MM,
            "centroid_z_percent_of_lung": 100
            * (centre - with_lung[0] + 0.5)
            / (with_lung[-1] - with_lung[0] + 1),
        }
    return found


def check(burden: Burden | None, hu: np.ndarray, lung: np.ndarray, infected: np.ndarray) -> None:
    if burden is None:
        assert not lung.any()
        return
    expected = plain_numbers(hu, lung, infected)
    for name, value in vars(burden).items():
        plain = expected.get(name)
        assert (value is None) == (plain is None), name
        assert value is None or value == pytest.approx(plain, rel=1e-9, abs=1e-9), name


@st.composite
def scans(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """HU, lungs, infection and lobes without any order in them."""
    shape = draw(SIZE)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hu = rng.choice([-3024, -1024, -1000, -850, -201, -200, -199, 0, 60, 300, 3071], shape)
    hu = np.where(rng.random(shape) < draw(st.floats(0, 1)), hu, rng.integers(-1100, 200, shape))
    lungs = (rng.integers(1, 3, shape) * (rng.random(shape) < draw(st.floats(0, 1)))).astype(np.uint8)
    infection = (rng.random(shape) < draw(st.floats(0, 1))).astype(np.uint8)
    return hu.astype(np.int16), lungs, infection, rng.integers(0, 6, shape).astype(np.uint8)


def measured(
    hu: object, lungs: np.ndarray, infection: np.ndarray, lobes: np.ndarray | None
) -> Quantification:
    return quantify(infection, lungs, VOXEL_ML, hu=hu, lobes=lobes, slice_mm=SLICE_MM)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(scans())
def test_each_number_of_each_region_is_that_of_whole_arrays(scan: tuple[np.ndarray, ...]) -> None:
    hu, lungs, infection, lobes = scan
    q = measured(hu, lungs, infection, lobes)
    infected = infection > 0
    check(q.both, hu, lungs > 0, infected)
    for side, burden in ((RIGHT, q.right), (LEFT, q.left)):
        if (lungs == side).any():
            check(burden, hu, lungs == side, infected)
    assert q.lobes
    for name, number in LOBES.items():
        check(q.lobes[name], hu, (lungs > 0) & (lobes == number), infected)
    if q.hu_histogram:
        assert sum(q.hu_histogram.lung) == np.count_nonzero(lungs)
        assert sum(q.hu_histogram.infection) == np.count_nonzero(infected & (lungs > 0))


@settings(max_examples=10, deadline=None)
@given(scans())
def test_the_way_voxels_are_stored_changes_no_bit(scan: tuple[np.ndarray, ...]) -> None:
    hu, lungs, infection, lobes = scan
    expected = measured(hu, lungs, infection, lobes)
    as_stored = rescaled((hu.astype(np.int32) + 5000).astype(np.uint16), 1, -5000, source="scan")
    turned = tuple(np.asfortranarray(array[::-1]).copy()[::-1] for array in (hu, lungs, infection, lobes))
    for given_hu in (hu.astype(np.float32), hu.astype(np.int32), as_stored):
        assert measured(given_hu, lungs, infection, lobes) == expected
    assert measured(*turned) == expected


@pytest.mark.parametrize(("hu", "is_high"), [(-201, False), (-200, False), (-199, True), (-199.6, False)])
def test_high_opacity_lies_above_the_limit(hu: float, is_high: bool) -> None:
    lungs = np.ones((1, 2, 2), np.uint8)
    q = quantify(lungs, lungs, 1.0, hu=np.full(lungs.shape, hu, np.float32))
    assert q.both
    assert q.both.high_opacity_fraction == float(is_high)
    assert q.hu_classes
    assert q.hu_classes.both
    assert (q.hu_classes.both.ggo_ml, q.hu_classes.both.consolidation_ml) == ((0, 4) if is_high else (4, 0))


@pytest.mark.parametrize(("padded", "warns"), [(0, False), (5, False), (6, True)])
def test_padding_in_the_lungs_is_clipped_for_mass_alone_and_said(padded: int, warns: bool) -> None:
    lungs = np.ones((1, 10, 100), np.uint8)
    hu = np.full(lungs.shape, -800, np.int16)
    hu.reshape(-1)[:padded] = -2048
    q = quantify(0 * lungs, lungs, 1.0, hu=hu)
    assert q.both
    assert q.both.mass_g == pytest.approx((1000 - padded) * 0.2)
    assert q.both.lung_mean_hu == pytest.approx(-800 - 1.248 * padded)
    assert ("padding_in_lungs" in q.warnings) == warns
