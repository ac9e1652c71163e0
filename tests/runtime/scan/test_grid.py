"""The grid of a scan against nibabel, and distances known by arithmetic."""

import re

import nibabel as nib
import numpy as np
import pytest

from builders import ORIENTATIONS, chest_phantom, reorient, rotation
from infnet_runtime.errors import GeometryError
from infnet_runtime.scan.grid import Grid, check_affine, lps_axes

SHAPE = (3, 4, 5)  # slices, rows, columns
SPACING_MM = (5.0, 0.7, 0.8)


def stored(code: str) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Array in LPS with all voxels different, the same as stored, and its grid."""
    lps = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    array, affine = reorient(lps, SPACING_MM, code)
    return lps, array, Grid(array.shape, affine)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_orientation_goes_to_lps_and_back(code: str) -> None:
    lps, array, grid = stored(code)
    assert grid.orientation == code == "".join(nib.aff2axcodes(grid.affine))
    assert np.array_equal(grid.to_lps(array), lps)
    assert np.array_equal(grid.from_lps(lps), array)
    assert np.shares_memory(grid.from_lps(grid.to_lps(array)), array)
    assert grid.lps_shape == SHAPE
    np.testing.assert_allclose(grid.lps_spacing_mm, SPACING_MM)
    assert grid.voxel_ml == pytest.approx(5.0 * 0.7 * 0.8 / 1000)


@pytest.mark.parametrize("seed", range(30))
def test_oblique_axes_are_assigned_as_nibabel_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation(tuple(generator.uniform(-180, 180, 3))) * generator.uniform(0.5, 6, 3)
    axes, flips = lps_axes(affine)
    expected = nib.orientations.io_orientation(affine)
    for world, (axis, flip) in enumerate(zip(reversed(axes), reversed(flips), strict=True)):
        assert expected[axis, 0] == world
        towards_lps = expected[axis, 1] * (1 if world == 2 else -1)
        assert (flip.step is None) == (towards_lps > 0)


def test_an_oblique_grid_keeps_spacing_and_volume() -> None:
    array, affine = reorient(chest_phantom().hu, (12.0, 4.5, 4.0), "LAS")
    affine[:3, :3] = rotation((12.0, -8.0, 17.0)) @ affine[:3, :3]
    grid = Grid(array.shape, affine)
    assert np.array_equal(grid.to_lps(array), chest_phantom().hu)
    np.testing.assert_allclose(grid.lps_spacing_mm, (12.0, 4.5, 4.0))
    assert grid.voxel_mm3 == pytest.approx(12.0 * 4.5 * 4.0)


def test_a_tilted_gantry_makes_voxels_smaller_than_the_product_of_spacings() -> None:
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    affine[1, 2] = 5.0 * np.tan(np.radians(20))
    grid = Grid((2, 2, 2), affine)
    assert grid.voxel_ml == pytest.approx(0.005)
    assert np.prod(grid.spacing_mm) / 1000 > 0.0053


def test_a_grid_without_size_gives_no_millilitres() -> None:
    grid = Grid((2, 2, 2), np.eye(4))
    assert grid.has_size
    nominal = grid.without_size()
    assert (nominal.has_size, nominal.voxel_ml) == (False, None)
    assert nominal.spacing_mm == (1.0, 1.0, 1.0)
    assert grid.voxel_ml == pytest.approx(0.001)


def test_corners_of_one_spacing_and_another() -> None:
    """0.70 against 0.75 mm: no entry of the affine differs by 0.1, and the far corner is 36 mm away."""
    one = Grid((512, 512, 100), np.diag([0.70, 0.70, 1.0, 1.0]))
    other = Grid((512, 512, 100), np.diag([0.75, 0.75, 1.0, 1.0]))
    expected = np.hypot(511 * 0.05, 511 * 0.05)
    assert one.corner_distance_mm(other) == pytest.approx(expected)
    assert other.corner_distance_mm(one) == pytest.approx(expected)
    assert not one.is_same_place(other)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_corners_do_not_see_the_order_of_storing(code: str) -> None:
    reference = stored("LPS")[2]
    # reorient gives each order its own origin: the first stored voxel lies at one place in all of them.
    _, array, grid = stored(code)
    stored_axes, flips = lps_axes(grid.affine)
    start = [0, 0, 0]
    for axis, flip in zip(stored_axes, flips, strict=True):
        start[axis] = array.shape[axis] - 1 if flip.step == -1 else 0
    moved = grid.affine.copy()
    first = grid.affine @ (*start, 1.0)  # the first slice, row and column
    moved[:3, 3] += (reference.affine @ (0, 0, 0, 1.0))[:3] - first[:3]
    assert Grid(array.shape, moved).corner_distance_mm(reference) == pytest.approx(0, abs=1e-9)
    assert Grid(array.shape, moved).is_same_place(reference)


def test_corners_of_a_moved_and_of_a_cropped_grid() -> None:
    affine = np.diag([-0.5, -0.5, 2.0, 1.0])
    grid = Grid((11, 11, 11), affine)
    moved = affine.copy()
    moved[:3, 3] = (3.0, -4.0, 0.0)
    assert grid.corner_distance_mm(Grid((11, 11, 11), moved)) == pytest.approx(5.0)
    assert grid.corner_distance_mm(Grid((11, 11, 10), affine)) == pytest.approx(2.0)


def test_arrays_of_another_shape_are_refused() -> None:
    grid = Grid((4, 3, 2), np.diag([-1.0, -1.0, 5.0, 1.0]))
    with pytest.raises(GeometryError, match=r"expected shape \(4, 3, 2\) of the grid, found \(2, 3, 4\)"):
        grid.to_lps(np.zeros((2, 3, 4)))
    with pytest.raises(GeometryError, match=r"expected LPS shape \(2, 3, 4\) of mask.nii, found \(4, 3, 2\)"):
        grid.from_lps(np.zeros((4, 3, 2)), source="mask.nii")


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2, 2), (0, 2, 2)])
def test_only_three_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="expected a grid with three axes of voxels") as caught:
        Grid(shape, np.eye(4))
    assert caught.value.code == 3030


@pytest.mark.parametrize(
    ("affine", "text"),
    [
        (np.diag([1.0, 1.0, 0.0, 1.0]), "is singular"),
        (np.diag([1.0, 1.0, np.nan, 1.0]), "finite numbers"),
        (np.eye(3), r"expected a \(4, 4\) matrix"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "is singular"),
        (np.array([[1.0, 1, 0, 0], [0, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "do not span a volume"),
    ],
)
def test_affines_without_volume_are_refused(affine: np.ndarray, text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        check_affine(affine, "the affine of scan.nii")
    with pytest.raises(GeometryError, match=text):
        Grid((2, 2, 2), affine)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_a_grid_from_spacings_is_that_of_nibabel(code: str) -> None:
    shape, spacing_mm, origin_mm = (3, 4, 5), (5.0, 0.7, 0.8), (11.0, -12.0, 13.0)
    grid = Grid.from_spacing(shape, spacing_mm, code, origin_mm)
    assert nib.aff2axcodes(grid.affine) == tuple(code)
    np.testing.assert_allclose(nib.affines.voxel_sizes(grid.affine), spacing_mm)
    assert grid.orientation == code
    # Along each axis, in the direction of its letter, the voxels lie at origin + number * spacing.
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    place = nib.affines.apply_affine(grid.affine, (2, 3, 4))
    for axis, letter in enumerate(code):
        world, sign = towards[letter]
        assert sign * place[world] == pytest.approx(origin_mm[axis] + (2, 3, 4)[axis] * spacing_mm[axis])


def test_the_position_of_dicom_is_the_origin_in_the_order_of_the_buffer() -> None:
    x, y, z = -175.0, -180.0, 40.0  # Image Position (Patient) of the lowest slice, in LPS
    grid = Grid.from_spacing((2, 3, 4), (5.0, 0.7, 0.7), "SPL", (z, y, x))
    assert grid.affine[:3, 3].tolist() == [-x, -y, z]  # NIfTI counts to the right and to the front


@pytest.mark.parametrize(
    ("spacing_mm", "number"),
    [
        ((0.0, 1.0, 1.0), 3014),
        ((5.0, -0.7, 0.7), 3014),
        ((5.0, float("nan"), 0.7), 3014),
        ((5.0, float("inf"), 0.7), 3014),
        ((5.0, 0.7, 0.0007), 3014),
        ((5.0, 0.7), 3030),
        (5.0, 3030),
        (None, 3030),
    ],
)
def test_spacings_that_no_scanner_has_are_refused(spacing_mm: tuple[float, ...], number: int) -> None:
    with pytest.raises(GeometryError, match=r"spacing.*expected") as caught:
        Grid.from_spacing((3, 4, 5), spacing_mm)
    assert caught.value.code == number


@pytest.mark.parametrize("code", [None, 5, ("S", "P"), "", "SP", "SPP", "SIL", "spl", "SPX", "SPLS", "HPL"])
def test_orientations_that_are_none_are_refused(code: object) -> None:
    with pytest.raises(GeometryError, match=re.escape(f"is {code!r}, expected one letter")) as caught:
        Grid.from_spacing((3, 4, 5), (5.0, 0.7, 0.7), code)  # type: ignore[arg-type]
    assert caught.value.code == 3016


def test_an_origin_is_three_finite_numbers() -> None:
    for origin_mm, number in (((0.0, float("nan"), 0.0), 3031), ((0.0, 0.0), 3030)):
        with pytest.raises(GeometryError) as caught:
            Grid.from_spacing((3, 4, 5), (5.0, 0.7, 0.7), origin_mm=origin_mm)
        assert caught.value.code == number


def test_a_grid_stays_what_it_was() -> None:
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    grid = Grid((3, 4, 5), affine)
    affine[2, 2] = 7
    assert grid.spacing_mm == (1.0, 1.0, 5.0)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[2, 2] = 7


def test_a_grid_takes_the_lists_and_integers_of_a_host() -> None:
    grid = Grid([np.int64(3), 4, 5], np.diag([-1, -1, 5, 1]))  # type: ignore[arg-type]
    assert grid.shape == np.zeros(grid.shape).shape == (3, 4, 5)
    assert grid.affine.dtype == np.float64
