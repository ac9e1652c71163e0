"""Spoilt PNG and JPEG files."""

import struct
import zlib
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.kinds import Kind, write
from fuzzing.mutations import INTEGERS, spoil_bytes
from fuzzing.scans import read_scan

_MAGIC = b"\x89PNG\r\n\x1a\n"
_ROWS, _COLUMNS = 40, 48
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # turned by a quarter
_OTHER_PARTS = {
    b"gAMA": struct.pack(">I", 45455),
    b"sRGB": b"\0",
    b"pHYs": struct.pack(">2IB", 2835, 2835, 1),
    b"tEXt": b"Comment\0a chest",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"a chest"),
    b"iTXt": b"Comment\0\0\0\0\0a chest",
    b"iCCP": b"profile\0\0" + zlib.compress(bytes(200)),
    b"tRNS": b"\0\x10",
    b"bKGD": b"\0\x10",
    b"sBIT": b"\x08",
    b"hIST": bytes(512),
    b"cHRM": bytes(32),
    b"tIME": bytes(7),
    b"oFFs": bytes(9),
    b"acTL": struct.pack(">2I", 1, 0),
    b"fcTL": struct.pack(">5I2H2B", 0, _COLUMNS, _ROWS, 0, 0, 1, 10, 0, 0),
    b"fdAT": bytes(12),
    b"CgBI": bytes(4),
    b"eXIf": _EXIF,
}


@cache
def _grey() -> np.ndarray:
    """A slice that passes as a CT: air around, tissue, two lungs."""
    y, x = np.mgrid[-1 : 1 : _ROWS * 1j, -1 : 1 : _COLUMNS * 1j]
    picture = np.where(x**2 + (1.3 * y) ** 2 < 0.8, 200, 3)
    for middle in (-0.4, 0.4):
        picture = np.where(((x - middle) / 0.28) ** 2 + (y / 0.5) ** 2 < 1, 40, picture)
    return (picture + np.arange(_COLUMNS) % 7).astype(np.uint8)


def _png(rng: Random) -> bytes:
    colour = rng.choice((0, 0, 0, 2, 3, 4, 6))
    depth = rng.choice((8, 8, *_DEPTHS[colour]))
    line_bytes = -(-_COLUMNS * _CHANNELS[colour] * depth // 8)
    plane = np.repeat(_grey(), _CHANNELS[colour], axis=1)
    if colour in (4, 6) and rng.random() < 0.5:
        plane[:, _CHANNELS[colour] - 1 :: _CHANNELS[colour]] = 255
    plane = np.repeat(plane, 2, axis=1) if depth == 16 else plane
    lines = np.zeros((_ROWS, 1 + line_bytes), np.uint8)
    lines[:, 0] = [rng.randrange(5) for _ in range(_ROWS)] if rng.random() < 0.3 else 0
    lines[:, 1:] = plane[:, :line_bytes]
    header = [_COLUMNS, _ROWS, depth, colour, 0, 0, int(rng.random() < 0.1)]
    if rng.random() < 0.2:
        at = rng.randrange(7)
        header[at] = rng.choice(INTEGERS) % (1 << (32 if at < 2 else 8))
    palette = bytes(value for value in range(256) for _ in range(3))
    parts = [(b"PLTE", palette)] if colour == 3 or rng.random() < 0.03 else []
    for kind in rng.sample(sorted(_OTHER_PARTS), rng.choice((0, 0, 1, 3))):
        content = _OTHER_PARTS[kind]
        parts.append((kind, spoil_bytes(rng, content) if rng.random() < 0.5 else content))
    pixels = zlib.compress(lines.tobytes(), rng.choice((0, 1, 9)))
    at = rng.randrange(len(pixels))
    parts += [(b"IDAT", pixels)] if rng.random() < 0.8 else [(b"IDAT", pixels[:at]), (b"IDAT", pixels[at:])]
    parts = [(b"IHDR", struct.pack(">2I5B", *header)), *parts, (b"IEND", b"")]
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                parts[at] = (parts[at][0], spoil_bytes(rng, parts[at][1]))
            case 1:
                del parts[at]
            case 2:
                parts.insert(rng.randrange(len(parts)), parts[at])
            case 3:
                parts[at] = (rng.choice((rng.randbytes(4), b"IHDR", b"IDAT", b"PLTE", b"IEND")), parts[at][1])
            case _:
                parts.insert(at, (rng.choice(sorted(_OTHER_PARTS)), rng.randbytes(rng.randint(0, 40))))
        if not parts:
            break
    return _MAGIC + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _spoilt_png(rng: Random, folder: Path) -> Path:
    content = _png(rng)
    return write(folder, "slice.png", spoil_bytes(rng, content) if rng.random() < 0.15 else content)


KINDS = (Kind("png", 20, _spoilt_png, read_scan),)
