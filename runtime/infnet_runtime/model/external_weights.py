"""Looks into the bytes of an ONNX file for weights that are kept in other files.

ONNX Runtime refuses such a model when it is given as bytes; OpenVINO takes the files from the current folder,
so that something else would run than the file whose hash is reported. The field numbers are those of
``onnx.proto``.
"""

from collections.abc import Iterator

from infnet_runtime.model.protobuf import fields, text

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
_KEY, _VALUE = 1, 2  # of an entry of its external data


def weights_elsewhere(content: bytes) -> tuple[str, ...]:
    """Names of the other files in which a model keeps values of its tensors, each once.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    return tuple(dict.fromkeys(_places("model", memoryview(content))))


def _places(kind: str, message: memoryview) -> Iterator[str]:
    if kind == "tensor":
        told = [value for number, value in fields(message) if number in (_EXTERNAL_DATA, _DATA_LOCATION)]
        entries = [value for value in told if isinstance(value, memoryview)]
        if entries or any(told):
            named = [text(entry, _VALUE) for entry in entries if text(entry, _KEY) == "location"]
            yield named[0] if named else "a file without a name"
        return
    inner = _PARTS[kind]
    for number, value in fields(message):
        if number in inner and isinstance(value, memoryview):
            yield from _places(inner[number], value)
