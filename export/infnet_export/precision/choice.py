"""Which nodes of a graph compute in half precision, and which of their inputs and outputs are half then."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field

import onnx

from infnet_export.graph.modules import in_module
from infnet_export.graph.tensor_types import TensorTypes
from infnet_export.precision.notes import notes_in
from infnet_runtime.errors import ModelError

# Squares, exponentials and long sums leave the range from quite ordinary inputs: x * x from |x| = 256.
SENSITIVE_OPERATORS = (
    *("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization"),
    *("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal"),
    *("Exp", "Log", "Softmax", "LogSoftmax", "CumSum", "Range", "TopK", "NonMaxSuppression", "RoiAlign"),
    *("QuantizeLinear", "DequantizeLinear"),
)

# They take whatever type their input has: a Cast names its result, the others look at the shape alone.
TAKE_ANY_TYPE = ("Cast", "Shape", "Size")
# Positions on the grid, exact only in FP32. The operator's scales have no other type.
_POSITIONS = {("Resize", 1), ("Upsample", 1), ("GridSample", 1)}


@dataclass(frozen=True)
class KeepFp32:
    """What stays in single precision.

    Parameters
    ----------
    modules
        Names of modules with everything below them: ``decoder`` stands for ``decoder.conv5/Conv`` too.
    operators
        Operators that stay FP32 everywhere.
    output_maps
        Also whatever gives maps with as many channels as one of the outputs: the logits from the last
        convolution of each level to the sigmoid, which are added up from level to level.
    tensors
        Names of tensors: what makes or takes one stays FP32.
    """

    modules: tuple[str, ...] = ()
    operators: tuple[str, ...] = SENSITIVE_OPERATORS
    output_maps: bool = True
    tensors: frozenset[str] = field(default_factory=frozenset)


def keep_of(model: onnx.ModelProto) -> KeepFp32:
    """What a model, or its network, says must stay in single precision."""
    return KeepFp32(notes_in(model).fp32)


def kept_in_words(keep: KeepFp32, output_channels: Collection[int]) -> tuple[str, ...]:
    """What stays in single precision, for people.

    Examples
    --------
    >>> kept_in_words(KeepFp32(("decoder",)), [1]), kept_in_words(KeepFp32(), [3, 1])
    (('decoder', 'maps of one channel'), ('maps of 1 or 3 channels',))
    >>> kept_in_words(KeepFp32(tensors=frozenset({"up.2/Conv:0", "up.2/Relu:0"})), [1])
    ('what makes or takes the large values of up.2', 'maps of one channel')
    """
    places = sorted({name.rpartition("/")[0] or name for name in keep.tensors})
    large = [f"what makes or takes the large values of {', '.join(places)}"] if places else []
    counts = sorted(set(output_channels))
    channels = "one channel" if counts == [1] else f"{' or '.join(map(str, counts))} channels"
    return (*keep.modules, *large, f"maps of {channels}")


def refuse_unknown_modules(model: onnx.ModelProto, keep: KeepFp32) -> None:
    """Refuse to keep a module that the model does not have.

    Raises
    ------
    ModelError
        With the nearest name.
    """
    for module in keep.modules:
        if not any(in_module(node, module) for node in model.graph.node):
            known = sorted({node.name.split("/")[0].split(".")[0] for node in model.graph.node if node.name})
            near = difflib.get_close_matches(module, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; it has {', '.join(known)}"
            raise ModelError(f"the model has no module '{module}'{hint}", code=4122)


def stays(node: onnx.NodeProto, types: TensorTypes, keep: KeepFp32) -> bool:
    """Whether a node stays in single precision."""
    return (
        node.op_type in keep.operators
        or any(in_module(node, module) for module in keep.modules)
        or not keep.tensors.isdisjoint((*node.input, *node.output))
        or (keep.output_maps and any(name in types.output_maps for name in node.output))
    )


def half_slots(node: onnx.NodeProto, types: TensorTypes, opset: int) -> tuple[frozenset[int], frozenset[int]]:
    """Positions of the inputs and outputs that are FP16 when the node is.

    By the operator's definition: every type variable that may be FP16 and is FP32 in an input, so that a
    literal ``tensor(float)``, such as the scales of a Resize, is left alone.
    """
    outputs = [j for j, name in enumerate(node.output) if types.is_float(name)]
    if node.op_type == "Cast" or (node.op_type == "ConstantOfShape" and outputs):
        return frozenset(), frozenset(outputs)
    if node.op_type in TAKE_ANY_TYPE:
        return frozenset(), frozenset()
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:  # not a standard operator: nobody knows that it can do FP16
        return frozenset(), frozenset()
    free = {
        c.type_param_str
        for c in schema.type_constraints
        if {"tensor(float)", "tensor(float16)"} <= set(c.allowed_type_strs)
    }
    inputs = {
        i: schema.inputs[min(i, len(schema.inputs) - 1)].type_str  # the last one may repeat
        for i, name in enumerate(node.input)
        if types.is_float(name) and (node.op_type, i) not in _POSITIONS
    }
    bound = free & set(inputs.values())
    kinds = {j: schema.outputs[min(j, len(schema.outputs) - 1)].type_str for j in outputs}
    return (
        frozenset(i for i, kind in inputs.items() if kind in bound),
        frozenset(j for j, kind in kinds.items() if kind in bound),
    )
