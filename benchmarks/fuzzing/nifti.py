"""Spoilt NIfTI headers, and spoilt gzip files with a sound or a spoilt NIfTI file in them."""

import gzip
import struct
import zlib
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.kinds import Kind, write
from fuzzing.mutations import Field, spoil_bytes, spoil_fields
from fuzzing.scans import read_scan
from infnet_runtime.io.nifti import read_labels

# Of nifti1.h: every field that a reader looks at.
_FIELDS = (
    *(Field(0, "i"), Field(39, "B"), Field(70, "h"), Field(72, "h"), Field(108, "f"), Field(112, "f")),
    *(Field(116, "f"), Field(123, "B"), Field(252, "h"), Field(254, "h"), Field(344, "I"), Field(348, "I")),
    *(Field(40 + 2 * k, "h") for k in range(8)),
    *(Field(76 + 4 * k, "f") for k in range(8)),
    *(Field(256 + 4 * k, "f") for k in range(18)),
)
_TYPES = ((2, "u1"), (4, "i2"), (8, "i4"), (16, "f4"), (64, "f8"), (256, "i1"), (512, "u2"), (768, "u4"))
_SHAPE = (6, 5, 4)
_BLOCK = struct.Struct("<4s6xH2sHH")


def _volume(byte_order: str, datatype: int, kind: str, slope: float, inter: float) -> bytes:
    """A small sound volume, its values those of a chest."""
    stored = np.dtype(byte_order + kind)
    header = bytearray(352)
    for offset, code, *values in (
        (0, "i", 348),
        (40, "8h", 3, *_SHAPE, 1, 1, 1, 1),
        (70, "2h", datatype, 8 * stored.itemsize),
        (76, "8f", 1.0, 0.7, 0.7, 5.0, 0.0, 0.0, 0.0, 0.0),
        (108, "3f", 352.0, slope, inter),
        (123, "B", 2),
        (252, "2h", 1, 1),
        (256, "6f", 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (280, "12f", -0.7, 0.0, 0.0, 0.0, 0.0, -0.7, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0),
        (344, "4s", b"n+1\0"),
    ):
        struct.pack_into(f"{byte_order}{code}", header, offset, *values)
    hu = np.linspace(-1000, 400, np.prod(_SHAPE))
    values = np.clip(hu, 0, 255) if kind in ("u1", "i1") else (hu - inter) / slope
    if kind == "i1":
        values = np.minimum(values, 127)
    return bytes(header) + values.astype(stored).tobytes()


@cache
def _volumes() -> tuple[tuple[str, bytes], ...]:
    made = [
        (order, _volume(order, *kind, 1.0, 0.0)) for order in "<>" for kind in _TYPES if kind[1][0] != "u"
    ]
    made += [(order, _volume(order, 512, "u2", 1.0, -1024.0)) for order in "<>"]
    made += [(order, _volume(order, 2, "u1", 1.0, 0.0)) for order in "<>"]
    made.append(("<", _volume("<", 16, "f4", 0.5, -3.0)))
    return tuple(made)


def _spoilt_volume(rng: Random) -> bytes:
    byte_order, content = rng.choice(_volumes())
    if rng.random() < 0.75:
        content = spoil_fields(rng, content, _FIELDS, byte_order)
    if rng.random() < 0.4:
        content = spoil_bytes(rng, content[:352]) + content[352:]
    if rng.random() < 0.15:
        content = spoil_bytes(rng, content)
    return content


def _header(rng: Random, folder: Path) -> Path:
    return write(folder, "scan.nii", _spoilt_volume(rng))


def _blocked(content: bytes, size: int) -> bytes:
    """In BGZF, as bgzip writes it."""
    members = []
    for start in range(0, len(content), size):
        part = content[start : start + size]
        job = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = job.compress(part) + job.flush()
        head = _BLOCK.pack(b"\x1f\x8b\x08\x04", 6, b"BC", 2, len(packed) + 25)
        members.append(head + packed + struct.pack("<2I", zlib.crc32(part), len(part)))
    return b"".join(members)


def _gzip(rng: Random, folder: Path) -> Path:
    content = rng.choice(_volumes())[1] if rng.random() < 0.6 else _spoilt_volume(rng)
    if rng.random() < 0.2:  # much more, or less, than is announced
        content += bytes(rng.choice((1, 1 << 16, 1 << 22)))
    level = rng.choice((0, 1, 9))
    match rng.randrange(3):
        case 0:
            packed = gzip.compress(content, level, mtime=0)
        case 1:
            packed = _blocked(content, rng.choice((97, 352, 4096, 65280)))
        case _:
            at = rng.randrange(len(content))
            packed = b"".join(gzip.compress(part, level, mtime=0) for part in (content[:at], content[at:]))
    if rng.random() < 0.9:
        packed = spoil_bytes(rng, packed, [content])
    return write(folder, "scan.nii.gz", packed)


def _read_labels(path: Path) -> None:
    geometry, labels = read_labels(path)
    assert labels.shape == geometry.shape
    assert labels.dtype.kind in "iu"


KINDS = (
    Kind("nifti-header", 30, _header, read_scan),
    Kind("nifti-labels", 5, _header, _read_labels),
    Kind("gzip", 15, _gzip, read_scan),
)
