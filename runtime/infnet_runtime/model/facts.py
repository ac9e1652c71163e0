"""What an ONNX file says of itself, read from its bytes before any backend sees it.

Inputs and outputs, versions and metadata. The field numbers are those of ``onnx.proto``.
"""

from dataclasses import dataclass

from infnet_runtime.model.external_weights import weights_elsewhere
from infnet_runtime.model.protobuf import fields, numbers, parts, text
from infnet_runtime.model.signature import Port

_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
_METADATA = 14
_OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class OnnxFacts:
    """A file, without its computation.

    Parameters
    ----------
    ir_version
        Version of the format; 0 where the file does not say.
    opset
        Version of the operators; 0 where the file does not say.
    nodes
        How many operators the graph has.
    inputs, outputs
        Of the graph; weights that are listed as inputs are none.
    other_files
        Names of files in which weights are kept.
    """

    ir_version: int
    opset: int
    nodes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]
    other_files: tuple[str, ...]


def read_facts(content: bytes) -> OnnxFacts:
    """Read a file.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file, or end early.
    """
    model = memoryview(content)
    ir_version, opset, metadata, graph = 0, 0, {}, memoryview(b"")
    for number, value in fields(model):
        if isinstance(value, int):
            ir_version = value if number == 1 else ir_version
        elif number == 7:
            graph = value
        elif number == 8 and text(value, 1) in _OWN_DOMAINS:
            opset = max([opset, *numbers(value, 2)])
        elif number == _METADATA:
            metadata[text(value, 1)] = text(value, 2)
    weights = {text(tensor, 8) for tensor in parts(graph, 5)}
    return OnnxFacts(
        ir_version=ir_version,
        opset=opset,
        nodes=len(parts(graph, 1)),
        inputs=tuple(p for p in map(_port, parts(graph, 11)) if p.name not in weights),
        outputs=tuple(map(_port, parts(graph, 12))),
        metadata=metadata,
        other_files=weights_elsewhere(content),
    )


def read_metadata(content: bytes) -> dict[str, str]:
    """The metadata alone, without a look at the graph.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file, or end early.
    """
    entries = parts(memoryview(content), _METADATA)
    return {text(entry, 1): text(entry, 2) for entry in entries}


def _port(value_info: memoryview) -> Port:
    name, dtype, shape = text(value_info, 1), "no tensor", None
    for kind in parts(value_info, 2):
        for tensor in parts(kind, 1):
            codes = numbers(tensor, 1)
            dtype = _TYPES.get(codes[0], f"type {codes[0]}") if codes else "no type"
            for dimensions in parts(tensor, 2):
                shape = tuple(map(_size, parts(dimensions, 1)))
    return Port(name=name, dtype=dtype, shape=shape)


def _size(dimension: memoryview) -> int | str | None:
    fixed = numbers(dimension, 1)
    return fixed[0] if fixed else text(dimension, 2) or None
