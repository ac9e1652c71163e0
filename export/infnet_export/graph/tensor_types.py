"""A model as a pass over its graph wants it: weights as plain initializers, the type of every tensor known.

What a pass cannot see, it must not touch: models with inner graphs, functions, or tensors whose type does not
follow from standard operators are refused here.
"""

import copy
import math
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from infnet_runtime.errors import ModelError

_LIGHT = 64  # numbers in a weight that may say something about shapes


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


def in_module(node: onnx.NodeProto, module: str) -> bool:
    """Whether a node belongs to a module or to one below it.

    Examples
    --------
    >>> node = helper.make_node("Conv", ["x", "w"], ["y"], name="rfb2.branch0.0.conv/Conv")
    >>> in_module(node, "rfb2"), in_module(node, "rfb"), in_module(node, "rfb2.branch0")
    (True, False, True)
    """
    place = node.name.rpartition("/")[0]
    return place == module or place.startswith(f"{module}.")


class TensorTypes:
    """Element types of all tensors of a model.

    Parameters
    ----------
    model
        Stays as it is.

    Raises
    ------
    ModelError
        If types do not fit or one is not known.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            inferred = onnx.shape_inference.infer_shapes(
                _light(model), check_type=True, strict_mode=True, data_prop=True
            ).graph
        except onnx.shape_inference.InferenceError as error:
            raise ModelError(f"the types of the model's tensors do not fit: {error}", code=4121) from error
        self.between = list(inferred.value_info)
        """Type and shape of what lies between nodes."""
        self.weights = {t.name for t in model.graph.initializer} - {v.name for v in model.graph.input}
        """Names of the weights that cannot be given as inputs."""
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self.one_channel = {v.name for v in values if is_one_channel(v)}
        """Names of the tensors (n, 1, h, w)."""
        self._kinds = {v.name: v.type.tensor_type.elem_type for v in values}
        self._kinds |= {t.name: t.data_type for t in model.graph.initializer}
        for node in model.graph.node:
            unknown = [name for name in node.output if name and not self._kinds.get(name)]
            if unknown:
                raise ModelError(
                    f"the type of '{unknown[0]}', output of {node.op_type} '{node.name}', is not known; this "
                    "conversion needs standard ONNX operators and tensors",
                    code=4121,
                )

    def is_float(self, name: str) -> bool:
        """Whether a tensor is in single precision."""
        return self._kinds.get(name) == TensorProto.FLOAT

    def is_floating(self, node: onnx.NodeProto) -> bool:
        """Whether a node gives a tensor in single precision."""
        return any(self.is_float(name) for name in node.output)


def is_one_channel(value: onnx.ValueInfoProto) -> bool:
    """Whether a tensor holds maps of one channel, (n, 1, h, w)."""
    dimensions = value.type.tensor_type.shape.dim
    return len(dimensions) == 4 and dimensions[1].dim_value == 1


def attribute_of(node: onnx.NodeProto, name: str) -> AttributeProto:
    """The attribute of a node that is known to have it."""
    attribute: AttributeProto = next(a for a in node.attribute if a.name == name)
    return attribute


def _light(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large weights as mere inputs: types are needed, numbers take long to copy."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    fed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _LIGHT or tensor.name in fed:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def _is_one_channel(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return (
        tensor.elem_type == TensorProto.FLOAT
        and len(tensor.shape.dim) == 4
        and tensor.shape.dim[1].dim_value == 1
    )
