"""A model as a pass over its graph wants it: weights as plain initializers.

What a pass cannot see, it must not touch: models with inner graphs or functions are refused here.
"""

import copy
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from infnet_runtime.errors import ModelError


def plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its weights as initializers of the type they are used in.

    A cast of a weight is done here and now, so that a weight stored as FP16 becomes one in FP32 again, under
    its own name; a ``Constant`` becomes an initializer.

    Parameters
    ----------
    model
        Stays as it is.

    Raises
    ------
    ModelError
        If the model has inner graphs or functions, whose tensors a pass over the outer graph does not see.
    """
    _refuse_inner_graphs(model)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    fed = {value.name for value in graph.input}
    weights = {t.name: t for t in graph.initializer if t.name not in fed}
    given = {value.name for value in graph.output}
    cast = [
        node
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in weights and node.output[0] not in given
    ]
    renamed: dict[str, str] = {}
    for node in cast:
        stored, kind = weights[node.input[0]], attribute_of(node, "to").i
        name = stored.name if _only_cast_to(kind, stored.name, graph.node) else node.output[0]
        renamed[node.output[0]] = name
        array = numpy_helper.to_array(stored).astype(helper.tensor_dtype_to_np_dtype(kind))
        weights[name] = numpy_helper.from_array(array, name)
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant":
            weights[node.output[0]] = _constant(node)
        elif node not in cast:
            nodes.append(copy.deepcopy(node))
            for i, name in enumerate(node.input):
                nodes[-1].input[i] = renamed.get(name, name)
    used = {name for node in nodes for name in node.input} | given
    kept = [t for t in graph.initializer if t.name in fed] + [t for n, t in weights.items() if n in used]
    kept = copy.deepcopy(kept)  # before the messages they live in are emptied
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return changed


def _only_cast_to(kind: int, name: str, nodes: Iterable[onnx.NodeProto]) -> bool:
    consumers = [node for node in nodes if name in node.input]
    return all(node.op_type == "Cast" and attribute_of(node, "to").i == kind for node in consumers)


def _constant(node: onnx.NodeProto) -> TensorProto:
    (attribute,) = node.attribute
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    kind = np.float32 if attribute.name.startswith("value_float") else np.int64
    if attribute.name not in ("value_float", "value_floats", "value_int", "value_ints"):
        raise ModelError(f"constant {node.name} holds {attribute.name}, expected numbers", code=4121)
    return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), kind), node.output[0])


def _refuse_inner_graphs(model: onnx.ModelProto) -> None:
    inner = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    for node in model.graph.node:
        if any(attribute.type in inner for attribute in node.attribute):
            raise ModelError(
                f"{node.op_type} '{node.name}' has a graph of its own, which this conversion does not look "
                "into; export the model without control flow",
                code=4120,
            )
    if model.functions:
        raise ModelError(
            f"the model defines {len(model.functions)} functions, which this conversion does not look into; "
            "export the model without them",
            code=4120,
        )


def attribute_of(node: onnx.NodeProto, name: str) -> AttributeProto:
    """The attribute of a node that is known to have it."""
    attribute: AttributeProto = next(a for a in node.attribute if a.name == name)
    return attribute
