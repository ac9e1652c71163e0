"""Spoiling bytes, and fields whose place is known."""

import struct
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

INTEGERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (
    *(float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-20, 1e20, 3.4e38),
    *(-3.4e38, 2.0**24, 2.0**31, 2.0**63, 1000.0, 0.001, -1024.0),
)
_MOST_STEPS = 4
_MOST_INSERTED = 64


class Field(NamedTuple):
    """Place of one value in a header, ``code`` as for ``struct``, one letter."""

    offset: int
    code: str


def spoil_bytes(rng: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Turn bits, overwrite, remove, repeat or insert parts, cut off, or go on as another file does."""
    spoilt = bytearray(content)
    for _ in range(rng.randint(1, _MOST_STEPS)):
        place = rng.randrange(len(spoilt)) if spoilt else 0
        length = min(rng.choice((1, 2, 4, 8, rng.randint(1, _MOST_INSERTED))), len(spoilt) - place)
        match rng.randrange(7):
            case 0 if spoilt:
                spoilt[place] ^= 1 << rng.randrange(8)
            case 1:
                spoilt[place : place + length] = rng.randbytes(length)
            case 2:
                spoilt[place : place + length] = bytes([rng.choice((0, 0xFF, 0x7F, 0x80))]) * length
            case 3:
                del spoilt[place : place + length]
            case 4:
                spoilt[place:place] = spoilt[place : place + length]
            case 5:
                del spoilt[place:]
            case _ if others:
                other = rng.choice(others)
                spoilt[place:] = other[min(place, len(other)) :]
    return bytes(spoilt)


def spoil_fields(rng: Random, header: bytes, fields: Sequence[Field], byte_order: str) -> bytes:
    """Write values that are at a border, or any at all, into one to three fields."""
    spoilt = bytearray(header)
    for _ in range(rng.randint(1, 3)):
        offset, code = rng.choice(fields)
        struct.pack_into(byte_order + code, spoilt, offset, any_value(rng, code))
    return bytes(spoilt)


def any_value(rng: Random, code: str) -> int | float:
    """A value of a kind of number."""
    if code in "fd":
        value = rng.choice((rng.choice(FLOATS), rng.uniform(-10, 10), rng.gauss(0, 1e4)))
        return value if code == "d" else struct.unpack("<f", struct.pack("<f", value))[0]
    bits = 8 * struct.calcsize(f"<{code}")
    value = rng.choice((rng.choice(INTEGERS), rng.getrandbits(bits), rng.randint(0, 20))) % (1 << bits)
    return value - (1 << bits) if code.islower() and value >= 1 << (bits - 1) else value
