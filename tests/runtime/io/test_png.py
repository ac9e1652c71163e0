import struct
import zlib

import cv2
import numpy as np
import pytest

from infnet_runtime.io.png import palette_png, png_bytes


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), np.uint8), ((5, 7, 3), np.uint8), ((5, 7), np.uint16)])
def test_pixels_survive_and_equal_pixels_give_equal_bytes(shape: tuple[int, ...], dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    content = png_bytes(picture)
    assert content == png_bytes(np.asfortranarray(picture))
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), picture)


def parts(content: bytes) -> dict[bytes, bytes]:
    """Kind of each part to its content, each with a right checksum."""
    found, place = {}, 8
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", content, place + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = body
        place += 12 + length
    return found


def test_pixels_of_a_palette_are_its_numbers_and_are_seen_in_its_colours() -> None:
    picture = np.random.default_rng(0).integers(0, 3, (5, 7), np.uint8)
    colours = ((0, 0, 0), (255, 200, 40), (10, 20, 30))
    content = palette_png(picture, colours, labels='{"1": "a"}')
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown[..., ::-1], np.array(colours)[picture])
    found = parts(content)
    assert found[b"tEXt"] == b'labels\0{"1": "a"}'
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(5, 8)
    assert np.array_equal(lines[:, 1:], picture)
    assert content == palette_png(np.asfortranarray(picture), colours, labels='{"1": "a"}')
