"""In what numbers a model file computes, told from its bytes, and what a session then really computes in.

The form of a file is fixed when it is exported. What a backend makes of it may be another thing: bfloat16 in
place of single precision where the processor has units for it, or single precision for a file in half.
"""

from collections.abc import Iterator

from infnet_runtime.model.protobuf import fields, numbers, parts, text

FLOAT32, FLOAT16, BF16, INT8 = "float32", "float16", "bf16", "int8"
TF32 = "tf32"  # float32 whose products are of numbers rounded to 10 bits

_EIGHT_BIT = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
_HALF = 10  # ONNX's number for float16
_GRAPH, _NODE, _OPERATOR, _ATTRIBUTE, _WHOLE_NUMBER = 7, 1, 4, 5, 3  # fields of ``onnx.proto``


def form_of(content: bytes) -> str:
    """What an ONNX file computes in: ``int8`` where layers are quantised, ``float16``, or ``float32``.

    A weight that is stored as float16 and cast to float32 makes no other form: what counts is whether
    anything is cast down. A file of a form has layers in single precision too, those that need it.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    form = FLOAT32
    for node in _nodes(content):
        operator = text(node, _OPERATOR)
        if operator in _EIGHT_BIT:
            return INT8
        if operator == "Cast" and _HALF in _whole_numbers(node):
            form = FLOAT16
    return form


def computed_in(form: str, floats: str) -> str:
    """What a session computes in, in words.

    Parameters
    ----------
    form
        Of the file.
    floats
        What the backend computes layers in that are not quantised.

    Examples
    --------
    >>> computed_in("int8", "bf16"), computed_in("float32", "float32"), computed_in("float16", "float32")
    ('int8 + bf16', 'float32', 'float32 (file in float16)')
    """
    if form == INT8:
        return f"{INT8} + {floats}"
    return f"{floats} (file in {form})" if (form, floats) == (FLOAT16, FLOAT32) else floats


def graph_bytes(content: bytes) -> memoryview:
    """The graph of an ONNX file with all its weights, as it stands in the file.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    graphs = parts(memoryview(content), _GRAPH)
    if not graphs:
        raise ValueError("it has no graph")
    return graphs[-1]


def _nodes(content: bytes) -> Iterator[memoryview]:
    for number, value in fields(graph_bytes(content)):
        if number == _NODE and isinstance(value, memoryview):
            yield value


def _whole_numbers(node: memoryview) -> list[int]:
    return [number for a in parts(node, _ATTRIBUTE) for number in numbers(a, _WHOLE_NUMBER)]
