import cv2
import numpy as np
import pytest

from infnet_runtime.io.png import png_bytes


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), np.uint8), ((5, 7, 3), np.uint8), ((5, 7), np.uint16)])
def test_pixels_survive_and_equal_pixels_give_equal_bytes(shape: tuple[int, ...], dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    content = png_bytes(picture)
    assert content == png_bytes(np.asfortranarray(picture))
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), picture)
