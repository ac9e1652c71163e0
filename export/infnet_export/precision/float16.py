"""A model computed in half precision, where half precision can hold what it computes.

TensorRT takes its precisions from the types in the ONNX file, so the choice is made here: a function from
model to model. Every node is FP16 or FP32 by :class:`KeepFp32`; a ``Cast`` stands where a tensor changes
sides, one for each tensor, behind what produces it. Inputs and outputs of the graph keep their types.

The decoder multiplies feature maps with each other and the logits are sums over what it gives; nothing in
the graph bounds them, so both stay FP32 by default. ``ranges`` measures whether that is enough for the
weights and slices at hand.
"""

import copy
import difflib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import check_model
from infnet_export.graph.tensor_types import TensorTypes, attribute_of, in_module, plain_weights
from infnet_runtime.arrays import AnyArray, HalfArray
from infnet_runtime.errors import GateError, ModelError

LARGEST_HALF = float(np.finfo(np.float16).max)
_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)

# Squares, exponentials and long sums leave the range from quite ordinary inputs: x * x from |x| = 256.
SENSITIVE_OPERATORS = (
    *("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization"),
    *("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal"),
    *("Exp", "Log", "Softmax", "LogSoftmax", "CumSum", "Range", "TopK", "NonMaxSuppression", "RoiAlign"),
    *("QuantizeLinear", "DequantizeLinear"),
)

# They take whatever type their input has: a Cast names its result, the others look at the shape alone.
_TAKE_ANY_TYPE = ("Cast", "Shape", "Size")
# Positions on the grid, exact only in FP32. The operator's scales have no other type.
_POSITIONS = {("Resize", 1), ("Upsample", 1), ("GridSample", 1)}


@dataclass(frozen=True)
class KeepFp32:
    """What stays in single precision.

    Parameters
    ----------
    modules
        Names of modules with everything below them: ``partial_decoder`` stands for
        ``partial_decoder.conv5/Conv`` too.
    operators
        Operators that stay FP32 everywhere.
    one_channel
        Also whatever gives maps of one channel, (n, 1, h, w): the logits from the last convolution of each
        level to the sigmoid, which are added up from level to level.
    """

    modules: tuple[str, ...] = ("partial_decoder",)
    operators: tuple[str, ...] = SENSITIVE_OPERATORS
    one_channel: bool = True


DEFAULT_KEEP = KeepFp32()


@dataclass(frozen=True)
class WeightLoss:
    """A weight that half precision does not hold well.

    Parameters
    ----------
    vanished
        Numbers that became 0, below 6e-8 or so.
    subnormal
        Numbers below 6.1e-5, which keep fewer than 11 bits.
    """

    name: str
    vanished: int
    subnormal: int


@dataclass(frozen=True)
class Float16Report:
    """What the conversion did.

    Parameters
    ----------
    fp16_nodes
        Number of nodes that compute in half precision.
    fp32_nodes
        Names of the nodes that compute in single precision.
    casts
        Number of casts put in.
    weights
        Numbers among the weights that were rounded.
    losses
        Weights of which some vanished or became subnormal.
    half_tensors
        Activations held in half precision, by their names in the model that was converted: what the range
        check looks at.
    """

    fp16_nodes: int
    fp32_nodes: tuple[str, ...]
    casts: int
    weights: int
    losses: tuple[WeightLoss, ...]
    half_tensors: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)


def to_float16(
    model: onnx.ModelProto, keep: KeepFp32 = DEFAULT_KEEP
) -> tuple[onnx.ModelProto, Float16Report]:
    """Convert a model to half precision.

    Parameters
    ----------
    model
        In single precision, weights stored as FP16 included; stays as it is.

    Returns
    -------
    Checked, with the metadata of ``model``.

    Raises
    ------
    ModelError
        If the model has inner graphs, a tensor whose type is not known, or no module of a name in ``keep``.
    GateError
        If a weight is too large for half precision; nothing is clipped.
    """
    plain = plain_weights(model)
    _refuse_unknown_modules(plain, keep)
    types = TensorTypes(plain)
    opsets = {o.domain.removeprefix("ai.onnx"): o.version for o in plain.opset_import}
    slots = {
        i: _half_slots(node, types, opsets.get(node.domain, 0))
        for i, node in enumerate(plain.graph.node)
        if not _stays(node, types, keep)
    }
    converted, casts, half_tensors = _rewritten(plain, types, slots)
    losses, rounded = _rounded_weights(converted, plain)
    check_model(converted)
    floating = [i for i, node in enumerate(plain.graph.node) if types.is_floating(node)]
    return converted, Float16Report(
        fp16_nodes=sum(i in slots for i in floating),
        fp32_nodes=tuple(plain.graph.node[i].name for i in floating if i not in slots),
        casts=casts,
        weights=rounded,
        losses=losses,
        half_tensors=half_tensors,
    )


def _refuse_unknown_modules(model: onnx.ModelProto, keep: KeepFp32) -> None:
    for module in keep.modules:
        if not any(in_module(node, module) for node in model.graph.node):
            known = sorted({node.name.split("/")[0].split(".")[0] for node in model.graph.node if node.name})
            near = difflib.get_close_matches(module, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; it has {', '.join(known)}"
            raise ModelError(f"the model has no module '{module}'{hint}", code=4122)


def _stays(node: onnx.NodeProto, types: TensorTypes, keep: KeepFp32) -> bool:
    return (
        node.op_type in keep.operators
        or any(in_module(node, module) for module in keep.modules)
        or (keep.one_channel and any(name in types.one_channel for name in node.output))
    )


def _half_slots(
    node: onnx.NodeProto, types: TensorTypes, opset: int
) -> tuple[frozenset[int], frozenset[int]]:
    """Positions of the inputs and outputs that are FP16 when the node is.

    By the operator's definition: every type variable that may be FP16 and is FP32 in an input, so that a
    literal ``tensor(float)``, such as the scales of a Resize, is left alone.
    """
    outputs = [j for j, name in enumerate(node.output) if types.is_float(name)]
    if node.op_type == "Cast" or (node.op_type == "ConstantOfShape" and outputs):
        return frozenset(), frozenset(outputs)
    if node.op_type in _TAKE_ANY_TYPE:
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


_Slots = dict[int, tuple[frozenset[int], frozenset[int]]]


def _rewritten(
    plain: onnx.ModelProto, types: TensorTypes, slots: _Slots
) -> tuple[onnx.ModelProto, int, tuple[str, ...]]:
    """The converted model, with weights that are used in FP16 still in FP32; casts; tensors in FP16."""
    outputs = {value.name for value in plain.graph.output}
    nothing: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    # Name of each tensor that is produced in FP16; an output of the graph leaves its own name to the Cast.
    halves = {
        name: f"{name}:fp16" if name in outputs else name
        for i, node in enumerate(plain.graph.node)
        for j, name in enumerate(node.output)
        if j in slots.get(i, nothing)[1]
    }
    casts: dict[str, onnx.NodeProto] = {}  # by the tensor they read; each is read in one other type only
    for name in outputs & set(halves):
        casts[name] = _cast(halves[name], name, TensorProto.FLOAT)
    nodes = []
    half_weights: set[str] = set()
    for i, node in enumerate(plain.graph.node):
        half_inputs, half_outputs = slots.get(i, nothing)
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for k, name in enumerate(node.input):
            if not types.is_float(name):
                continue
            if node.op_type in _TAKE_ANY_TYPE:
                changed.input[k] = halves.get(name, name)
            elif k in half_inputs and name in types.weights:
                half_weights.add(name)
                changed.input[k] = f"{name}:fp16"
            elif k in half_inputs and name not in halves:
                casts.setdefault(name, _cast(name, f"{name}:fp16", TensorProto.FLOAT16))
                changed.input[k] = f"{name}:fp16"
            elif k in half_inputs:
                changed.input[k] = halves[name]
            elif name in halves:
                casts.setdefault(name, _cast(halves[name], f"{name}:fp32", TensorProto.FLOAT))
                changed.input[k] = casts[name].output[0]
        for j in half_outputs:
            changed.output[j] = halves[node.output[j]]
        if half_outputs:
            _write_half(changed)
        nodes.append(changed)
    converted = onnx.ModelProto()
    converted.CopyFrom(plain)
    del converted.graph.node[:], converted.graph.value_info[:]
    fed = [casts[value.name] for value in plain.graph.input if value.name in casts]
    converted.graph.node.extend(fed)
    for node, before in zip(nodes, plain.graph.node, strict=True):
        converted.graph.node.append(node)
        converted.graph.node.extend(casts[name] for name in before.output if name in casts)
    _split_weights(converted, half_weights)
    return converted, len(casts), tuple(sorted({*halves, *casts}))


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=kind)


def _write_half(node: onnx.NodeProto) -> None:
    """Change the attribute that states the type of the result, where there is one."""
    if node.op_type == "Cast":
        attribute_of(node, "to").i = TensorProto.FLOAT16
    if node.op_type == "ConstantOfShape":
        value = next((numpy_helper.to_array(a.t) for a in node.attribute), np.zeros(1, np.float32))
        half = numpy_helper.from_array(_half(value, node.name))
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("value", half))


def _split_weights(model: onnx.ModelProto, half_weights: set[str]) -> None:
    """Store weights in the type they are used in, in both where both are used."""
    used = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    stored = []
    for tensor in model.graph.initializer:
        if tensor.name in half_weights:
            array = _half(numpy_helper.to_array(tensor), tensor.name)
            stored.append(numpy_helper.from_array(array, f"{tensor.name}:fp16"))
        if tensor.name in used:
            stored.append(copy.deepcopy(tensor))
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)


def _half(single: AnyArray, name: str) -> HalfArray:
    with np.errstate(over="ignore"):  # that is what is looked for
        half = single.astype(np.float16)
    overflown = int(np.isinf(half).sum() - np.isinf(single).sum())
    if overflown:
        raise GateError(
            f"{overflown} weights are too large for half precision, which ends at {LARGEST_HALF:g}: the "
            f"largest is {np.abs(single).max():g} in {name}; keep its module in FP32",
            code=7001,
        )
    return half


def _rounded_weights(
    converted: onnx.ModelProto, plain: onnx.ModelProto
) -> tuple[tuple[WeightLoss, ...], int]:
    singles = {t.name: t for t in plain.graph.initializer}
    halves = [
        (t.name.removesuffix(":fp16"), numpy_helper.to_array(t))
        for t in converted.graph.initializer
        if t.data_type == TensorProto.FLOAT16 and t.name not in singles
    ]
    losses = (_loss(name, numpy_helper.to_array(singles[name]), half) for name, half in halves)
    return tuple(loss for loss in losses if loss.vanished or loss.subnormal), sum(h.size for _, h in halves)


def _loss(name: str, single: AnyArray, half: AnyArray) -> WeightLoss:
    zero = half == 0
    return WeightLoss(
        name=name,
        vanished=int((zero & (single != 0)).sum()),
        subnormal=int((~zero & (np.abs(half) < _SMALLEST_NORMAL)).sum()),
    )
