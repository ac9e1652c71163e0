import numpy as np
import pytest

from builders import LEFT, RIGHT
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import lung_mask

GRID = Grid((4, 3, 2), np.diag([-1.0, -1.0, 5.0, 1.0]))


def labels(dtype: np.dtype | type = np.uint8) -> np.ndarray:
    array = np.zeros(GRID.shape, dtype)
    array[0], array[3] = RIGHT, LEFT
    return array


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int64, np.float32, np.float64])
def test_labels_of_any_type_of_numbers_become_bytes(dtype: type) -> None:
    mask = lung_mask(labels(dtype), GRID, origin="threshold")
    assert mask.labels.dtype == np.uint8
    assert np.array_equal(mask.labels, labels())
    assert (mask.grid, mask.origin) == (GRID, "threshold")
    assert np.array_equal(mask.to_lps(), GRID.to_lps(labels()))


def test_bytes_are_not_copied() -> None:
    array = labels()
    assert lung_mask(array, GRID).labels is array
    assert lung_mask(array, GRID).origin == "given"


def test_another_shape_is_refused() -> None:
    with pytest.raises(
        GeometryError, match=r"expected shape \(4, 3, 2\) of scan.nii, found \(2, 3, 4\)"
    ) as caught:
        lung_mask(labels().transpose(), GRID, source="scan.nii")
    assert caught.value.code == 3033


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (3, np.uint8, r"has labels up to 3, expected 1 \(right\) and 2 \(left\)"),
        (300, np.int16, "has labels up to 300"),
        (-1, np.int16, "has values -1..2, expected labels"),
        (0.5, np.float32, "values between the labels"),
        (np.nan, np.float32, "not finite"),
    ],
)
def test_what_is_no_label_is_refused(value: float, dtype: type, text: str) -> None:
    array = labels(dtype)
    array[1, 1, 1] = value
    with pytest.raises(InputError, match=text) as caught:
        lung_mask(array, GRID)
    assert caught.value.code in (3063, 3071)


def test_booleans_have_no_sides() -> None:
    with pytest.raises(InputError, match=r"of booleans, expected 1 \(right\) and 2 \(left\)") as caught:
        lung_mask(labels() > 0, GRID)
    assert caught.value.code == 3071


def test_no_lung_can_be_found_but_not_given() -> None:
    empty = np.zeros(GRID.shape, np.uint8)
    assert not lung_mask(empty, GRID, origin="threshold").labels.any()
    with pytest.raises(InputError, match="the lung mask is empty") as caught:
        lung_mask(empty, GRID)
    assert caught.value.code == 3066
