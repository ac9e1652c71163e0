"""Where the network looks."""

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.measure.flags import LUNGS_BY_THRESHOLD, NO_LUNG
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.segment.region import Region, lungs_of, numbers, region

GRID = Grid(
    (6, 40, 50), np.array([[0.0, 0, -2, 0], [0, -1, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
)  # stored as LPS


def labels() -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    array[1, 10:20, 5:15] = RIGHT
    array[[2, 4], 12:30, 30:40] = LEFT
    return array


def test_the_box_holds_the_lungs_of_all_slices_with_a_margin() -> None:
    looked_at = region(lung_mask(labels(), GRID), GRID, 4.0)
    assert (looked_at.rows, looked_at.columns) == (slice(6, 34), slice(3, 42))
    assert looked_at.box_shape == (28, 39)
    assert looked_at.slices == [1, 2, 4]
    assert np.array_equal(looked_at.inside, labels())
    assert looked_at.lungs.origin == "given"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [slice(1, 2), slice(2, 3), slice(4, 5)]), (2, [slice(1, 3), slice(4, 5)]), (3, [[1, 2, 4]])],
)
def test_neighbours_come_as_a_plain_slice(size: int, expected: list[slice | list[int]]) -> None:
    batches = list(region(lung_mask(labels(), GRID), GRID, 4.0).batches(size))
    assert batches == expected
    assert [number for picked in batches for number in numbers(picked)] == [1, 2, 4]


def test_only_a_picture_without_lung_is_looked_at_as_a_whole() -> None:
    empty = np.zeros(GRID.shape, np.uint8)
    volume = region(lung_mask(empty, GRID, origin="threshold"), GRID, 4.0)
    assert (volume.slices, volume.lungs.origin) == ([], "threshold")
    picture = region(lung_mask(empty, GRID, origin="threshold"), GRID.without_size(), 4.0)
    assert picture.slices == [0, 1, 2, 3, 4, 5]
    assert picture.box_shape == (40, 50)
    assert picture.inside.all()
    assert picture.lungs.origin == "none"
    assert not picture.lungs.labels.any()
    with_lung: Region = region(lung_mask(labels(), GRID), GRID.without_size(), 4.0)
    assert np.array_equal(with_lung.inside, labels())


def test_lungs_are_found_or_given_and_the_flags_say_so() -> None:
    phantom = chest_phantom()
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "scan")
    found, flags = lungs_of(scan, None)
    assert (found.origin, flags) == ("threshold", (LUNGS_BY_THRESHOLD,))
    given, flags = lungs_of(scan, phantom.lungs)
    assert (given.origin, flags) == ("given", ())
    assert np.array_equal(given.labels, phantom.lungs)
    body = CtVolume(np.full_like(phantom.hu, 40), phantom.affine, Intensity.HU, "body")
    assert lungs_of(body, None)[1] == (LUNGS_BY_THRESHOLD, NO_LUNG)
