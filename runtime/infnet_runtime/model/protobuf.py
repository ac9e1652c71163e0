"""The fields of a message of protocol buffers, read without its library, which the runtime does not need."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

Value: TypeAlias = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of every field of a message, in the order of the file.

    Raises
    ------
    ValueError
        If the bytes are no such message, or end early.

    Examples
    --------
    >>> [(number, value) for number, value in fields(memoryview(bytes([8, 10, 16, 1])))]
    [(1, 10), (2, 1)]
    """
    return ((number, value) for number, value, _ in spans(message))


def spans(message: memoryview) -> Iterator[tuple[int, Value, memoryview]]:
    """:func:`fields` with the bytes of each field, its number among them: together they are the message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value, message[start:at]
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("a field is cut off")
        yield number, message[at : at + size], message[start : at + size]
        at += size


def numbers(message: memoryview, field: int) -> list[int]:
    """Values of a field of numbers."""
    return [value for number, value in fields(message) if number == field and isinstance(value, int)]


def parts(message: memoryview, field: int) -> list[memoryview]:
    """Values of a field of messages, texts or bytes."""
    return [value for number, value in fields(message) if number == field and isinstance(value, memoryview)]


def text(message: memoryview, field: int) -> str:
    """The last value of a field of text; empty where there is none."""
    found = parts(message, field)
    return bytes(found[-1]).decode("utf-8", "replace") if found else ""


def message(number: int, content: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field that holds a message, text or bytes, in the pieces that it is written in.

    Examples
    --------
    >>> b"".join(message(1, [b"in", b"fnet"])).hex()
    '0a06696e666e6574'
    """
    pieces = list(content)
    return [_written(number << 3 | _BYTES), _written(sum(map(len, pieces))), *pieces]


def _written(value: int) -> bytes:
    """A number as a message holds it.

    Examples
    --------
    >>> _written(300).hex()
    'ac02'
    """
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first -> the number, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number is cut off")
