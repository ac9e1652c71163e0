"""Lungs of small patients are measured as well as those of adults."""

import numpy as np
import numpy.typing as npt
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.lungs import find_lungs
from infnet_runtime.lungs.body import body_width_mm
from infnet_runtime.lungs.reduced import reduce_scan
from infnet_runtime.scan.ct import Intensity

# Of the volume of each lung. Measured: 0.003 to 0.028 for bodies of 70 to 415 mm; without the proportion 0.22
# to 1 below 140 mm.
MOST_OFF = 0.05
SCALES = (
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.5,
    0.62,
    0.66,
    0.8,
    1.0,
    1.2,
)  # 346 mm at 1; 220 mm lie between .62 and .66

Hu = npt.NDArray[np.int16]


def check(hu: Hu, lungs: npt.NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> None:
    found = find_lungs(hu, spacing_mm, Intensity.HU)
    for side in (RIGHT, LEFT):
        truth = np.count_nonzero(lungs == side)
        assert np.count_nonzero((found == side) & (lungs == side)) > 0.93 * truth
        assert abs(np.count_nonzero(found == side) / truth - 1) < MOST_OFF


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((20, 72, 96), (12.0, 4.5, 4.0)), ((16, 120, 160), (15.0, 2.7, 2.4)), ((40, 108, 144), (6.0, 3.0, 2.7))],
)
def test_the_same_chest_in_all_sizes(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], scale: float
) -> None:
    phantom = chest_phantom(shape, spacing_mm)
    check(phantom.hu, phantom.lungs, tuple(mm * scale for mm in spacing_mm))  # type: ignore[arg-type]


@pytest.mark.parametrize("width_mm", [80, 110, 150, 200])
def test_the_voxels_of_a_scanner(width_mm: int) -> None:
    scale = width_mm / 346
    shape = (int(240 * scale / 3), int(324 * scale / 0.9), int(384 * scale / 0.9))
    phantom = chest_phantom(shape, (3.0, 0.9, 0.9))
    check(phantom.hu, phantom.lungs, phantom.spacing_mm)


def small_in_large(rows: int, columns: int) -> tuple[Hu, npt.NDArray[np.uint8], tuple[float, float, float]]:
    """A chest of 110 mm in a picture as it is made for adults."""
    scale = 110 / 346
    shape = (25, int(324 * scale / 0.9), int(384 * scale / 0.9))
    phantom = chest_phantom(shape, (3.0, 0.9, 0.9))
    hu = np.full((25, rows, columns), -1000.0)
    hu += np.random.default_rng(0).normal(0, 10, hu.shape)
    lungs = np.zeros(hu.shape, np.uint8)
    place = (slice(None), slice(60, 60 + shape[1]), slice(80, 80 + shape[2]))
    hu[place], lungs[place] = phantom.hu, phantom.lungs
    return np.rint(hu).astype(np.int16), lungs, (3.0, 0.9, 0.9)


def test_a_small_patient_in_a_large_picture() -> None:
    check(*small_in_large(300, 400))


@pytest.mark.parametrize("thick", [6, 18])
def test_a_small_patient_on_the_table_of_adults(thick: int) -> None:
    hu, lungs, spacing_mm = small_in_large(300, 400)
    bottom = int(np.flatnonzero((hu > -200).any(axis=(0, 2)))[-1])
    hu[:, bottom - 1 : bottom - 1 + thick, 5:395] = 120  # it lies on it
    check(hu, lungs, spacing_mm)


def test_a_round_field_of_view_that_touches_the_flanks() -> None:
    phantom = chest_phantom((25, 108, 144), (4.0, 1.0, 0.9))
    inner = slice(7, 137)
    hu, lungs = phantom.hu[:, :, inner].copy(), phantom.lungs[:, :, inner]
    _, y, x = np.indices(hu.shape)
    hu[((y - 54) * 1.0) ** 2 + ((x - 65) * 0.9) ** 2 > 58.5**2] = -2048
    check(hu, lungs, (4.0, 1.0, 0.9))


def width_of(hu: Hu, spacing_mm: tuple[float, float, float]) -> float | None:
    scan = reduce_scan(hu, spacing_mm, Intensity.HU)
    assert scan
    return body_width_mm(scan)


def test_the_width_of_a_body_is_measured_where_it_is_seen() -> None:
    phantom = chest_phantom()
    assert width_of(phantom.hu, phantom.spacing_mm) == pytest.approx(346, abs=9)
    half = tuple(mm / 2 for mm in phantom.spacing_mm)
    assert width_of(phantom.hu, half) == pytest.approx(173, abs=9)  # type: ignore[arg-type]
    # Within an adult there is no width: it is no small patient.
    inner = (slice(None), slice(18, 54), slice(20, 80))
    assert width_of(phantom.hu[inner], phantom.spacing_mm) is None
    assert width_of(np.full((5, 40, 40), -1000, np.int16), (5.0, 2.0, 2.0)) is None
