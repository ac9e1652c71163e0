"""PNG files, written in one way by all packages: equal pixels give equal bytes."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray

MAGIC = b"\x89PNG\r\n\x1a\n"
"""What every PNG begins with."""

_PALETTE = 3  # colour type
_COMPRESSION = 6


def png_bytes(picture: AnyArray) -> bytes:
    """A picture as a PNG file.

    Parameters
    ----------
    picture : (rows, columns) or (rows, columns, channels)
        8 or 16 bits, colours in the order of OpenCV.
    """
    from infnet_runtime.opencv import cv2  # a look at the help of a command does not need it

    return cv2.imencode(".png", picture)[1].tobytes()


def palette_png(picture: ByteArray, colours: Sequence[tuple[int, int, int]], **texts: str) -> bytes:
    """Labels as a PNG file with a palette, which OpenCV does not write.

    Parameters
    ----------
    picture : (rows, columns)
        Numbers of colours.
    colours
        Red, green and blue.
    texts
        Keyword to text, in ASCII.
    """
    rows, columns = picture.shape
    lines = np.zeros((rows, 1 + columns), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = picture
    parts = [
        (b"IHDR", struct.pack(">2I5B", columns, rows, 8, _PALETTE, 0, 0, 0)),
        (b"PLTE", bytes(value for colour in colours for value in colour)),
        *((b"tEXt", f"{key}\0{text}".encode("ascii")) for key, text in texts.items()),
        (b"IDAT", zlib.compress(lines.tobytes(), _COMPRESSION)),
        (b"IEND", b""),
    ]
    return MAGIC + b"".join(part(kind, content) for kind, content in parts)


def part(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG: length, kind, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
