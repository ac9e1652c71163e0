"""Modules of the network in a graph: nodes are named after them, ``head.conv5/Conv``."""

import onnx


def in_module(node: onnx.NodeProto, module: str) -> bool:
    """Whether a node belongs to a module or to one below it.

    Examples
    --------
    >>> node = onnx.NodeProto(name="rfb2.branch0.0.conv/Conv")
    >>> in_module(node, "rfb2"), in_module(node, "rfb"), in_module(node, "rfb2.branch0")
    (True, False, True)
    """
    place = node.name.rpartition("/")[0]
    return place == module or place.startswith(f"{module}.")


def module_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """Names of the modules around a node, from the outermost; none for what belongs to none.

    Examples
    --------
    >>> module_of(onnx.NodeProto(name="rfb2.branch0.0.conv/Conv")), module_of(onnx.NodeProto(name="Resize"))
    (('rfb2', 'branch0', '0', 'conv'), ())
    """
    place = node.name.rpartition("/")[0]
    return tuple(place.split(".")) if place else ()
