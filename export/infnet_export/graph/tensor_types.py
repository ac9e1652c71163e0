"""The element type of every tensor of a model, and which tensors are maps like those it gives.

Models with tensors whose type does not follow from standard operators are refused here.
"""

import math
from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper

from infnet_runtime.errors import ModelError

_LIGHT = 64  # numbers in a weight that may say something about shapes


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
        self.channels = channels_of_maps(values)
        """Number of channels of all maps, (n, channels, h, w)."""
        self.output_maps = like_outputs(values, inferred.output)
        """Names of the maps with as many channels as one that the graph gives."""
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


def channels_of_maps(values: Iterable[onnx.ValueInfoProto]) -> dict[str, int]:
    """Number of channels of every map, (n, channels, h, w); 0 where it is not known."""
    shapes = {v.name: v.type.tensor_type.shape.dim for v in values}
    return {name: shape[1].dim_value for name, shape in shapes.items() if len(shape) == 4}


def like_outputs(values: Iterable[onnx.ValueInfoProto], outputs: Iterable[onnx.ValueInfoProto]) -> set[str]:
    """Names of the maps with as many channels as one of the outputs: logits and what becomes of them."""
    given = set(channels_of_maps(outputs).values()) - {0}
    return {name for name, channels in channels_of_maps(values).items() if channels in given}


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
