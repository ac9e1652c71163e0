"""Pieces found plane by plane are those of the whole volume."""

import cc3d
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infnet_runtime.measure.components import Components

SIZE = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=80, deadline=None)
@given(SIZE, st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_pieces_are_those_of_a_whole_volume(shape: tuple[int, ...], seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    found = Components()
    for number, plane in enumerate(mask):
        rows = np.flatnonzero(plane.any(axis=1))
        first = int(rows[0]) if len(rows) else 0  # a part of the plane that holds all of its marks
        found.add(number, np.ascontiguousarray(plane[first:]).view(np.uint8), (first, 0))
    labels = cc3d.connected_components(mask.astype(np.uint8), connectivity=26)
    assert found.voxels == sorted(np.bincount(labels.ravel())[1:].tolist(), reverse=True)


def test_many_labels_in_a_plane_are_joined_too() -> None:
    mask = np.zeros((3, 160, 160), np.uint8)
    mask[:, ::2, ::2] = 1  # 6400 pieces a plane, more than a table of all pairs takes
    found = Components()
    for number, plane in enumerate(mask):
        found.add(number, plane)
    assert found.voxels == [3] * 6400
