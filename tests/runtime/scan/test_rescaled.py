"""Values by a slope and an intercept, against the same ones made in one piece."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infnet_runtime import CtVolume, InputError, Intensity
from infnet_runtime.scan.rescaled import Rescaled, rescaled

SHAPE = (3, 4, 5)
STORED = ("u1", "i1", "<u2", ">u2", "<i2", ">i2", "u4", "i4", "i8", "f2", "<f4", ">f4", "f8")


def made_before(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """What a copy of the volume would hold: small whole numbers as integers, else float32."""
    kept = (np.uint8, np.int16, np.uint16, np.int32, np.float32)
    if (slope, intercept) == (1, 0) and stored.dtype in kept:
        return stored
    values = stored.astype(np.float64) * slope + intercept
    if stored.dtype.kind not in "iu" or slope != 1 or intercept % 1:
        return values.astype(np.float32)
    return values.astype(np.int16 if np.abs(values + 0.5).max() < 2**15 else np.int32)


@st.composite
def stored_numbers(draw: st.DrawFn) -> np.ndarray:
    """A few numbers of any type within its range, in any order in memory, flipped or not."""
    kind = np.dtype(draw(st.sampled_from(STORED)))
    if kind.kind == "f":
        numbers: Any = st.floats(-60000, 60000, width=16)
    else:
        limits = np.iinfo(kind)
        numbers = st.integers(max(limits.min, -(2**22)), min(limits.max, 2**22))
    ends = draw(st.lists(numbers, min_size=2, max_size=6))
    seed = draw(st.integers(0, 2**16))
    flat = np.random.default_rng(seed).choice(np.array(ends, kind), np.prod(SHAPE))
    order, flips = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((1, -1))] * 3))
    stored = flat.reshape(np.array(SHAPE)[list(order)]).transpose(np.argsort(order))
    stored = stored[tuple(slice(None, None, step) for step in flips)]
    stored.setflags(write=False)
    return stored


@settings(max_examples=300, deadline=None)
@given(
    stored_numbers(),
    st.sampled_from((1.0, 1.0, 0.5, 2.0, 0.0001, 1.2207)) | st.floats(1e-6, 3.0),
    st.sampled_from((0.0, -1024.0, -1000.0, -32768.0, -70000.0, 0.5)) | st.integers(-(2**20), 2**20),
)
def test_values_are_those_made_before_to_the_bit(stored: np.ndarray, slope: float, intercept: float) -> None:
    expected = made_before(stored, slope, intercept)
    before = stored.tobytes()
    values = rescaled(stored, slope, intercept, source="scan")

    assert (values.dtype, values.shape, values.ndim, values.size) == (expected.dtype, SHAPE, 3, 60)
    assert np.asarray(values).tobytes() == expected.tobytes()
    assert (float(values.min()), float(values.max())) == (expected.min(), expected.max())
    for key in (1, (..., 2), (slice(None), 1), (0, slice(1, None), slice(None, None, -1)), (2, 3, 4)):
        part, of_expected = values[key], expected[key]
        assert np.asarray(part).dtype == of_expected.dtype
        assert np.array_equal(part, of_expected)
    for parts in (np.s_[::2, ::-1, 1:], np.s_[[2, 0]], np.s_[np.array([1, 1]), 1:, :2]):
        assert np.array_equal(np.asarray(values[parts]), expected[parts])
    turned = values.transpose((2, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(turned, expected.transpose(2, 0, 1), strict=True))
    assert stored.tobytes() == before


def test_what_keeps_three_axes_is_a_view_of_the_numbers() -> None:
    stored = np.zeros(SHAPE, np.uint16)
    values = rescaled(stored, 1, -1024, source="scan")
    assert isinstance(values, Rescaled)
    scan = CtVolume(values, np.diag([1.0, -2.0, 3.0, 1.0]), Intensity.HU, "scan")
    for part in (values[::2], values.transpose((1, 2, 0)), scan.to_lps()):
        assert isinstance(part, Rescaled)
        assert np.shares_memory(part.stored, stored)
    assert not isinstance(values[0], Rescaled)


def test_numbers_that_are_values_already_are_given_back() -> None:
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.float32):
        stored = np.ones(SHAPE, kind)
        assert rescaled(stored, source="scan") is stored
    assert isinstance(rescaled(np.ones(SHAPE), source="scan"), Rescaled)
    assert isinstance(rescaled(np.ones(SHAPE, ">i2"), source="scan"), Rescaled)


def test_whoever_takes_it_for_an_array_gets_values() -> None:
    stored = np.arange(60, dtype=np.uint16).reshape(SHAPE)
    values, expected = rescaled(stored, 1, -30, source="scan"), stored.astype(np.int16) - 30
    assert np.array_equal(values > 0, expected > 0)
    assert np.array_equal(values == -30, expected == -30)
    assert np.array_equal(expected == values, np.ones(SHAPE))
    assert np.array_equal(values * 2, expected * 2)
    assert np.sum(values) == expected.sum()
    assert np.array_equal(np.asarray(values, np.float64), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(values)), expected)
    with pytest.raises(ValueError, match="cannot be had without a copy"):
        np.array(values, copy=False)
    with pytest.raises(TypeError):
        np.add(expected, 1, out=values)
    with pytest.raises(TypeError):
        values[0] = 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(0, 0), (-1, 0), (float("nan"), 0), (float("inf"), 0), (1, float("nan")), (1, float("-inf"))],
)
def test_a_scaling_that_is_none_is_refused(slope: float, intercept: float) -> None:
    shown = re.escape(f"slope of scan is {slope:g} and the intercept {intercept:g}, expected finite")
    with pytest.raises(InputError, match=f"INF-3124.*{shown}"):
        rescaled(np.zeros(SHAPE, np.int16), slope, intercept, source="scan")


def test_values_that_no_hu_are_of_are_refused() -> None:
    stored = np.full(SHAPE, 1000, np.int16)
    stored[0, 0, 0] = -3
    for slope, intercept, found in (
        (1e5, 0, r"-300000\.\.1e\+08"),
        (1, -3e7, r"-3e\+07\.\.-2\.9999e\+07"),
        (0.5, 1e300, r"1e\+300"),
    ):
        with pytest.raises(InputError, match=rf"INF-3125.*scan has values {found}.*expected HU") as caught:
            rescaled(stored, slope, intercept, source="scan")
        assert caught.value.code == 3125
    with pytest.raises(InputError, match=r"INF-3022"):
        rescaled(stored, 1, 1e30, source="scan")
    rescaled(stored, 16777, 216, source="scan")  # 2**24 - ...: each whole number still is one


def test_what_is_not_finite_is_counted_as_in_a_file() -> None:
    stored = np.zeros(SHAPE, np.float32)
    stored[0, :2, 0] = np.nan, np.inf
    with pytest.raises(InputError, match=r"INF-3032.*2 of 60 voxels of scan are not finite"):
        CtVolume(rescaled(stored, 1, -1024, source="scan"), np.eye(4), Intensity.HU, "scan")
