"""Bodies whose volume is known by a formula, and grids of any direction."""

import math
from itertools import product

import numpy as np
import pytest

from builders import ORIENTATIONS, chest_phantom, reorient, rotation
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.result import Quantification
from infnet_runtime.measure.slices import findings
from infnet_runtime.scan.grid import Grid

ANATOMY = chest_phantom((12, 30, 40), (20.0, 10.8, 9.6))


def numbers_of(
    hu: np.ndarray, lungs: np.ndarray, infection: np.ndarray, affine: np.ndarray
) -> Quantification:
    grid = Grid(hu.shape, affine)
    return quantify(
        grid.to_lps(infection),
        grid.to_lps(lungs),
        grid.voxel_ml,
        hu=grid.to_lps(hu),
        slice_mm=grid.slice_mm,
    )


def test_all_48_orientations_have_the_same_numbers() -> None:
    arrays = ANATOMY.hu, ANATOMY.lungs, ANATOMY.infection.astype(np.uint8)
    expected = numbers_of(*arrays, ANATOMY.affine)
    assert expected.both
    assert expected.right
    assert expected.right.infection_ml == expected.both.infection_ml == pytest.approx(ANATOMY.infection_ml)
    for code in ORIENTATIONS:
        stored = [reorient(array, ANATOMY.spacing_mm, code)[0] for array in arrays]
        affine = reorient(arrays[0], ANATOMY.spacing_mm, code)[1]
        found = numbers_of(*stored, affine)
        for region in ("both", "right", "left"):
            numbers, same = vars(getattr(expected, region)), vars(getattr(found, region))
            assert {n for n, v in numbers.items() if v is None} == {n for n, v in same.items() if v is None}
            for name in (name for name, value in numbers.items() if value is not None):
                assert same[name] == pytest.approx(numbers[name], rel=1e-12), (code, name)
        assert (found.scores, found.zones, found.hu_histogram) == (
            expected.scores,
            expected.zones,
            expected.hu_histogram,
        )
        z_mm = Grid(stored[0].shape, affine).slice_z_mm
        assert z_mm is not None
        assert z_mm == pytest.approx(30.0 + 20.0 * np.arange(12))  # as reorient places them


@pytest.mark.parametrize(
    ("spacing_mm", "angles"),
    [
        ((1.0, 1.0, 1.0), (0, 0, 0)),
        ((5.0, 0.7, 0.9), (0, 0, 0)),
        ((2.0, 1.0, 1.5), (20, 10, 5)),
        ((3.0, 0.8, 0.8), (0, 0, 30)),
    ],
)
def test_a_sphere_has_its_volume_on_any_grid(
    spacing_mm: tuple[float, float, float], angles: tuple[float, float, float]
) -> None:
    """Also where the axes are turned: the volume is that of the determinant."""
    radius_mm = 24.0
    shape = tuple(int(2.6 * radius_mm / mm) for mm in spacing_mm)
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    far = np.sqrt(z**2 + y**2 + x**2)
    lungs, infection = (far <= radius_mm).astype(np.uint8), (far <= radius_mm / 2).astype(np.uint8)
    affine = Grid.from_spacing(shape, spacing_mm, "SPL").affine.copy()
    affine[:3, :3] = rotation(angles) @ affine[:3, :3]
    grid = Grid(shape, affine)
    assert grid.voxel_ml == pytest.approx(math.prod(spacing_mm) / 1000, rel=1e-12)
    both = quantify(infection, lungs, grid.voxel_ml, slice_mm=grid.slice_mm).both
    assert both
    ml = 4 / 3 * math.pi * radius_mm**3 / 1000
    assert both.lung_ml == pytest.approx(ml, rel=0.02)
    assert both.infection_percent == pytest.approx(12.5, rel=0.05)
    assert both.component_count == 1
    assert both.largest_component_ml == both.infection_ml
    assert both.centroid_z_percent_of_lung == pytest.approx(50)


def test_a_sheared_grid_has_the_volume_of_its_determinant() -> None:
    affine = np.diag([-0.8, -0.8, 5.0, 1.0])
    affine[1, 2] = 5 * math.tan(math.radians(20))  # a gantry tilt that was not taken out
    grid = Grid((10, 12, 8), affine)
    both = quantify(np.ones((8, 12, 10), np.uint8), np.ones((8, 12, 10), np.uint8), grid.voxel_ml).both
    assert both
    assert both.infection_ml == pytest.approx(960 * 0.8 * 0.8 * 5 / 1000, rel=1e-12)
    assert grid.slice_mm == 5.0


def test_z_of_a_plane_is_that_of_its_centre() -> None:
    shape, spacing_mm = (7, 9, 5), (4.0, 2.0, 1.0)
    affine = Grid.from_spacing(shape, spacing_mm, "IPR", origin_mm=(-60.0, 3.0, 8.0)).affine.copy()
    affine[:3, :3] = rotation((15, 5, 0)) @ affine[:3, :3]
    grid = Grid(shape, affine)
    corners = np.array(list(product(*((0, n - 1) for n in shape[1:]))), float)
    expected = [
        np.mean([(affine @ (k, row, column, 1))[2] for row, column in corners]) for k in reversed(range(7))
    ]
    assert grid.slice_z_mm == pytest.approx(np.array(expected))
    assert np.all(np.diff(grid.slice_z_mm) > 0)
    lungs = np.ones(shape, np.uint8)
    assert [f.z_mm for f in findings(lungs, lungs, 1.0, z_mm=grid.slice_z_mm)] == pytest.approx(expected)
    assert grid.without_size().slice_z_mm is grid.without_size().slice_mm is None
