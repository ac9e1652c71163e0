"""An ONNX file cut down to what some of its outputs need.

ONNX Runtime computes every node of a graph whatever is asked for: its builds ignore
``RunOptions.only_execute_path_to_fetches``, and it keeps nodes that nothing needs. So they are left out of
the bytes that it is given. The field numbers are those of ``onnx.proto``.
"""

from collections.abc import Collection, Iterator

from infnet_runtime.model.protobuf import message, parts, spans, text

_GRAPH = 7  # of a model
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12  # of a graph
_NAME, _TENSOR_NAME = 1, 8  # of an output, of an initializer
_INPUTS, _OUTPUTS, _ATTRIBUTES = 1, 2, 5  # of a node
_INNER_GRAPHS = (6, 11)  # of an attribute


def with_only_outputs(content: bytes, wanted: Collection[str]) -> bytes:
    """The same model with fewer outputs, and without the nodes that only the others need.

    Weights that only these nodes read go with them. A model with graphs inside its nodes keeps all its
    nodes, because such graphs read values that the node does not name.

    Parameters
    ----------
    content
        Of an ONNX file.
    wanted
        Names of outputs.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    model = memoryview(content)
    kept: list[bytes | memoryview] = []
    for number, value, whole in spans(model):
        if number != _GRAPH or not isinstance(value, memoryview):
            kept.append(whole)
            continue
        kept += message(_GRAPH, _kept_of_graph(value, wanted))
    return b"".join(kept)


def _kept_of_graph(graph: memoryview, wanted: Collection[str]) -> Iterator[memoryview]:
    all_nodes = parts(graph, _NODE)
    needed = _needed_nodes(all_nodes, wanted)
    read: dict[bool, set[str]] = {True: set(wanted), False: set()}
    for node, is_needed in zip(all_nodes, needed, strict=True):
        read[is_needed] |= _texts(node, _INPUTS)
    gone, nodes = read[False] - read[True], iter(needed)
    for number, value, whole in spans(graph):
        if isinstance(value, memoryview):
            if number == _NODE and not next(nodes):
                continue
            if number == _OUTPUT and text(value, _NAME) not in wanted:
                continue
            if number == _INITIALIZER and text(value, _TENSOR_NAME) in gone:
                continue
        yield whole


def _needed_nodes(nodes: list[memoryview], wanted: Collection[str]) -> list[bool]:
    """Which nodes some outputs need; ONNX keeps them in an order in which each comes after what it reads."""
    if any(parts(a, inner) for node in nodes for a in parts(node, _ATTRIBUTES) for inner in _INNER_GRAPHS):
        return [True] * len(nodes)
    values, needed = set(wanted), []
    for node in reversed(nodes):
        is_needed = not values.isdisjoint(_texts(node, _OUTPUTS))
        if is_needed:
            values |= _texts(node, _INPUTS)
        needed.append(is_needed)
    return needed[::-1]


def _texts(node: memoryview, field: int) -> set[str]:
    return {bytes(value).decode("utf-8", "replace") for value in parts(node, field)}
