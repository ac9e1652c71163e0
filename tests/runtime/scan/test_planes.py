"""Planes in one piece of memory, however their volume runs."""

import itertools

import numpy as np
import pytest

from infnet_runtime.scan.planes import contiguous


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (5, 1), (1, 1)])
def test_every_way_a_plane_can_run(kind: str, shape: tuple[int, int]) -> None:
    stored = np.arange(63).astype(kind).reshape(7, 9)[: shape[0], : shape[1]]  # rows of a larger picture
    for rows, columns in itertools.product((1, -1), repeat=2):
        for plane in (stored[::rows, ::columns], stored[::rows, ::columns].T):
            found = contiguous(plane)
            assert found.flags.c_contiguous
            assert found.dtype == plane.dtype
            assert np.array_equal(found, plane)


def test_rows_that_are_one_row_of_memory() -> None:
    row = np.arange(7, dtype=np.int16)
    for plane in (np.broadcast_to(row, (5, 7)), np.broadcast_to(row, (5, 7)).T[::-1]):
        assert np.array_equal(contiguous(plane), plane)


def test_a_plane_that_is_in_one_piece_is_not_copied() -> None:
    plane = np.zeros((4, 5), np.int16)
    assert np.shares_memory(contiguous(plane), plane)
