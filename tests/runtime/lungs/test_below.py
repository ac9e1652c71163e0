"""Where a lung of the network ends towards the feet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infnet_runtime.lungs.below import slices_below

LUNG = [30, 90, 300, 600, 900, 900, 700, 300, 100]  # from the base to the apex, full of air


def below(dense: list[int], lung: list[int] = LUNG) -> int:
    """Of a lung with air on top of what is dense."""
    area = np.array([*dense, *lung])
    air = np.array([*[0] * len(dense), *[round(0.97 * one) for one in lung]])
    return slices_below(area, air)


@pytest.mark.parametrize(
    ("dense", "expected"),
    [
        ([10, 60, 80, 20, 0, 0], 6),  # a kidney, apart
        ([10, 60, 80, 20, 5, 2], 6),  # grown together with the tip
        ([10, 60, 80, 90], 4),  # the tip with air is the narrowest place
    ],
)
def test_what_becomes_wider_below_a_lung_is_none(dense: list[int], expected: int) -> None:
    assert below(dense) == expected


def test_the_waist_itself_goes_and_dense_lung_above_it_stays() -> None:
    assert below([60, 80, 5, 20, 25, 28]) == 3


@pytest.mark.parametrize(
    "dense",
    [
        [],
        [2, 9, 20, 28],  # a base without air: narrower and narrower
        [3, 1, 3, 8],  # a tip's unrest
        [300, 400, 500, 600],  # more than a cyst: a white lower lobe
    ],
)
def test_dense_lung_is_kept(dense: list[int]) -> None:
    assert below(dense) == 0


def test_a_lung_with_air_in_its_apex_alone_is_kept() -> None:
    air = np.zeros(len(LUNG), int)
    assert slices_below(np.array(LUNG), air) == 0
    air[-1] = LUNG[-1]
    assert slices_below(np.array(LUNG), air) == 0


def test_a_stray_voxel_of_gas_makes_no_lung() -> None:
    area = np.array([40, 120, 130, 40, 0, 0, *LUNG])
    air = np.array([0, 1, 2, 0, 0, 0, *LUNG])
    assert slices_below(area, air) == 6


def test_no_lung_and_no_slice() -> None:
    for shape in (0, 1, 4):
        assert slices_below(np.zeros(shape, int), np.zeros(shape, int)) == 0


@given(st.lists(st.integers(0, 30), max_size=20))
def test_what_only_narrows_is_never_cut(dense: list[int]) -> None:
    assert below(sorted(dense)) == 0
