"""Flat marks: as a whole volume of labels finds them, and at each side of each limit."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.measure.definitions import FLATTEST
from infnet_runtime.measure.flat_marks import flat_marks, remark

SIZE = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))


def flat_in(
    mask: ByteArray, *, pixel_mm2: float = 1.0, plane_mm: float = 1.0, slices: list[int] | None = None
) -> BoolArray:
    found = np.zeros(mask.shape, np.bool_)
    looked_at = list(range(len(mask))) if slices is None else slices
    for part in flat_marks(mask, looked_at, pixel_mm2=pixel_mm2, plane_mm=plane_mm):
        assert not found[part.number].any(), "each slice comes once"
        found[part.box] = part.where
    return found


def flat_of_whole(mask: ByteArray, pixel_mm2: float, plane_mm: float) -> BoolArray:
    """The rule once more, by labels of the whole volume."""
    found = np.zeros(mask.shape, np.bool_)
    labels = cc3d.connected_components(mask, connectivity=26)
    for label in range(1, int(labels.max()) + 1):
        piece = labels == label
        areas = piece.sum(axis=(1, 2))
        planes = np.flatnonzero(areas)
        width_mm = 2 * np.sqrt(areas.max() * pixel_mm2 / np.pi)
        reaches_end = planes[0] == 0 or planes[-1] == len(mask) - 1
        if not reaches_end and width_mm > FLATTEST * len(planes) * plane_mm:
            found |= piece
    return found


@settings(max_examples=120, deadline=None)
@given(
    SIZE, st.integers(0, 2**32 - 1), st.floats(0, 0.7), st.sampled_from([0.3, 1.0, 3.0]), st.floats(0.2, 2)
)
def test_they_are_those_of_a_whole_volume(
    shape: tuple[int, ...], seed: int, share: float, pixel_mm2: float, plane_mm: float
) -> None:
    mask = (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)
    found = flat_in(mask, pixel_mm2=pixel_mm2, plane_mm=plane_mm)
    assert np.array_equal(found, flat_of_whole(mask, pixel_mm2, plane_mm))
    left = mask * ~found
    assert not flat_in(left, pixel_mm2=pixel_mm2, plane_mm=plane_mm).any(), "a second time changes nothing"


def square(side: int, planes: slice, depth: int = 9) -> ByteArray:
    mask = np.zeros((depth, side + 2, side + 2), np.uint8)
    mask[planes, 1:-1, 1:-1] = 1
    return mask


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("pixel_mm2", [0.25, 0.7 * 1.4])
def test_the_limit_is_the_width_for_the_height(planes: int, pixel_mm2: float) -> None:
    mask = square(20, slice(3, 3 + planes))
    width_mm = 2 * np.sqrt(400 * pixel_mm2 / np.pi)
    at_limit = width_mm / FLATTEST / planes
    assert np.array_equal(flat_in(mask, pixel_mm2=pixel_mm2, plane_mm=0.999 * at_limit), mask > 0)
    assert not flat_in(mask, pixel_mm2=pixel_mm2, plane_mm=1.001 * at_limit).any()


def test_the_largest_plane_counts_and_the_parts_in_it_together() -> None:
    mask = np.zeros((5, 30, 30), np.uint8)
    mask[2, 5:10, 5:10] = mask[2, 5:10, 12:17] = 1  # 5.6 mm each, 8 mm together
    mask[3, 9, 9:13] = 1  # which joins them
    plane_mm = 2 * np.sqrt(50 / np.pi) / FLATTEST / 2
    assert flat_in(mask, plane_mm=0.999 * plane_mm).sum() == 54
    assert not flat_in(mask, plane_mm=1.001 * plane_mm).any()


def test_a_corner_joins_slices() -> None:
    mask = np.zeros((6, 20, 20), np.uint8)
    mask[2, 1:10, 1:10] = 1
    assert flat_in(mask, plane_mm=2).any()
    mask[3, 10, 10] = 1
    assert not flat_in(mask, plane_mm=2).any()
    mask[3, 10, 10], mask[3, 11, 11] = 0, 1
    assert np.array_equal(flat_in(mask, plane_mm=2)[2], mask[2] > 0)


@pytest.mark.parametrize("plane", range(9))
def test_what_reaches_an_end_may_go_on(plane: int) -> None:
    mask = square(20, slice(plane, plane + 1))
    assert flat_in(mask).any() == (0 < plane < 8)
    known = [1, 2, 3, 5, 6, 7]  # lungs of some slices only
    if plane in known:
        assert flat_in(mask, slices=known).any() == (plane in (2, 6))


def test_a_single_slice_and_nothing_have_none() -> None:
    assert not flat_in(square(20, slice(0, 1), depth=1)).any()
    assert not flat_in(np.zeros((3, 4, 4), np.uint8)).any()
    assert not flat_in(square(20, slice(3, 4)), slices=[]).any()


def test_slices_of_any_layout_are_read() -> None:
    mask = square(20, slice(3, 4))
    for stored in (np.asfortranarray(mask), mask[::-1, :, ::-1], mask.transpose(0, 2, 1)):
        assert np.array_equal(flat_in(stored), stored > 0)


def test_what_is_worth_a_word() -> None:
    assert remark(99, 0.001) == ()
    (flag,) = remark(101, 0.1)
    assert flag.name == "flat_marks_removed"
    assert not flag.warns
    assert "10.1 ml of flat marks were left out: pieces more than 3.5 times as wide" in flag.text
