import io
import struct
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.io.dicom.jpeg_lossless import is_whole

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

import dicom_world  # noqa: E402 - which needs pydicom

ROWS, COLUMNS, PRECISION = 9, 12, 16
CODE_BITS = 5  # of each of the 17 categories


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(content) + 2) + content


def encoded(pixels: np.ndarray, predictor: int, shift: int = 0, restart: int = 0) -> bytes:
    """A lossless JPEG (ITU-T T.81, annex H), written a pixel at a time."""
    x, bits = pixels.astype(int) >> shift, ""
    for i, j in np.ndindex(x.shape):
        a, b, c = (int(x[k]) if min(k) >= 0 else 0 for k in ((i, j - 1), (i - 1, j), (i - 1, j - 1)))
        guesses = [0, a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1]
        guess = guesses[predictor] if i and j else a if j else b if i else 1 << (PRECISION - shift - 1)
        difference = (int(x[i, j]) - guess + 0x8000) % 0x10000 - 0x8000
        category = abs(difference).bit_length()
        bits += f"{category:0{CODE_BITS}b}"
        if 0 < category < 16:
            bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    bits += "1" * (-len(bits) % 8)
    codes = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = segment(0xC3, struct.pack(">B2H4B", PRECISION, ROWS, COLUMNS, 1, 1, 0x11, 0))
    table = segment(0xC4, bytes([0, *(17 * (k == CODE_BITS) for k in range(1, 17)), *range(17)]))
    every = segment(0xDD, struct.pack(">H", restart))
    scan = segment(0xDA, bytes([1, 1, 0, predictor, 0, shift]))
    return b"\xff\xd8" + frame + table + every + scan + codes + b"\xff\xd9"


def picture(seed: int = 0) -> np.ndarray:
    """Smooth, with some steps as large as there are."""
    rng = np.random.default_rng(seed)
    pixels = 1000 + np.cumsum(rng.integers(-3, 4, (ROWS, COLUMNS)), axis=1)
    pixels[rng.random(pixels.shape) < 0.2] = rng.choice([0, 0x7FFF, 0x8000, 0xFFFF])
    return pixels.astype(np.uint16)


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_a_whole_stream_is_one_by_every_predictor(predictor: int, shift: int) -> None:
    for seed in range(5):
        pixels = picture(seed) >> shift << shift
        stream = encoded(pixels, predictor, shift)
        assert is_whole(stream, pixels)
        assert is_whole(stream, pixels.view(np.int16))  # as a signed picture is decoded
        assert not is_whole(stream[:-9] + stream[-2:], pixels)
        assert not is_whole(stream[:-2] + bytes(9) + stream[-2:], pixels)


def test_another_picture_than_that_of_the_codes_is_seen() -> None:
    pixels = picture()
    other = pixels.copy()
    other[-2:] = 0  # as a decoder fills it
    assert not is_whole(encoded(pixels, 1), other)


def test_restarts_are_not_followed() -> None:
    assert is_whole(encoded(picture(), 1, restart=4), np.zeros((ROWS, COLUMNS), np.uint16))


def test_a_slice_with_a_hole_in_its_codes_is_refused(tmp_path: Path) -> None:
    """The decoder alone gives a picture for it: the lower part of the slice is wrong."""
    paths = dicom_world.write(tmp_path, dicom_world.slices())
    sound = read_dicom(tmp_path).volume.voxels
    for path in paths:
        dicom_world.pack_with_gdcm(path, "JPEGLosslessProcess14_1")
    assert np.array_equal(np.asarray(read_dicom(tmp_path).volume.voxels), np.asarray(sound))
    content = bytearray(paths[2].read_bytes())
    end = content.rfind(b"\xff\xd9")
    content[end - 400 : end] = bytes(400)
    paths[2].write_bytes(content)
    dataset = pydicom.dcmread(io.BytesIO(content))
    assert dataset.pixel_array.shape == (dataset.Rows, dataset.Columns)  # no word of it
    with pytest.raises(InputError, match="its codes are not as long as those of the picture") as caught:
        read_dicom(tmp_path)
    assert caught.value.code == 3268
