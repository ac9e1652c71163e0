import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.scan.labels import whole_labels


def volume(*values: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(values, dtype).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("values", "expected", "dtype"),
    [
        (volume(0, 1, 2, dtype=np.int64), [0, 1, 2], np.uint8),
        (volume(0, 1.00001526, 2), [0, 1, 2], np.uint8),  # through 16 bits
        (volume(0, 0.996, 5.0098), [0, 1, 5], np.uint8),  # through 8 bits
        (volume(0, 256, 258), [0, 256, 258], np.int32),  # does not wrap around
        (volume(0, 255, 70000, dtype=np.uint32), [0, 255, 70000], np.int32),
        (volume(False, True, dtype=np.bool_), [0, 1], np.uint8),
    ],
)
def test_labels_become_whole_numbers(values: np.ndarray, expected: list[int], dtype: type) -> None:
    labels = whole_labels(values, "mask")
    assert labels.ravel().tolist() == expected
    assert labels.dtype == dtype


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (volume(0, np.nan, np.inf), "mask has 2 voxels that are not finite"),
        (volume(0, -np.inf), "mask has 1 voxels that are not finite"),
        (volume(-1, 2, dtype=np.int8), "mask has values -1..2, expected labels"),
        (volume(0, 1e12), r"mask has values 0..1e\+12, expected labels"),
        (volume(0, 0.5, 1), "mask has values between the labels, such as 0.5"),
        (volume(0, 254.9), "mask has values between the labels, such as 254.9"),
    ],
)
def test_what_is_no_label(values: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        whole_labels(values, "mask")
    assert caught.value.code == 3063
