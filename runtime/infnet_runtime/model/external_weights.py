"""Looks into the bytes of an ONNX file for weights that are kept in other files.

ONNX Runtime refuses such a model when it is given as bytes; OpenVINO takes the files from the current folder,
so that something else would run than the file whose hash is reported. The field numbers are those of
``onnx.proto``.
"""

from collections.abc import Iterator
from typing import TypeAlias

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers

# Message to the fields in which a tensor may be, however deep.
_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor

_Value: TypeAlias = int | memoryview


def keeps_weights_elsewhere(content: bytes) -> bool:
    """Whether any tensor of a model says that its values are in another file.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    return _external("model", memoryview(content))


def _external(kind: str, message: memoryview) -> bool:
    if kind == "tensor":
        fields = _fields(message)
        return any(n == _EXTERNAL_DATA or (n == _DATA_LOCATION and value) for n, value in fields)
    parts = _PARTS[kind]
    return any(
        _external(parts[number], value)
        for number, value in _fields(message)
        if number in parts and isinstance(value, memoryview)
    )


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Number and value of every field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("a field is cut off")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first -> the number, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number is cut off")
