"""A model computed in half precision, where half precision can hold what it computes.

TensorRT takes its precisions from the types in the ONNX file, so the choice is made here: a function from
model to model. Every node is FP16 or FP32 by :class:`KeepFp32`; a ``Cast`` stands where a tensor changes
sides, one for each tensor, behind what produces it. Inputs and outputs of the graph keep their types.

Logits are sums that nothing in the graph bounds, so they stay FP32 unless told otherwise, and with them the
modules that the network names (``notes``). ``ranges`` measures what else is too large for half precision with
the weights and slices at hand, and that stays FP32 too.
"""

import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import check_model
from infnet_export.graph.plain_weights import attribute_of, plain_weights
from infnet_export.graph.tensor_types import TensorTypes
from infnet_export.precision.choice import (
    TAKE_ANY_TYPE,
    KeepFp32,
    half_slots,
    refuse_unknown_modules,
    stays,
)
from infnet_export.precision.half import WeightLoss, rounded_to_half, rounding_loss

_ADVICE = "keep its module in FP32"


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


def to_float16(model: onnx.ModelProto, keep: KeepFp32) -> tuple[onnx.ModelProto, Float16Report]:
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
    refuse_unknown_modules(plain, keep)
    types = TensorTypes(plain)
    opsets = {o.domain.removeprefix("ai.onnx"): o.version for o in plain.opset_import}
    slots = {
        i: half_slots(node, types, opsets.get(node.domain, 0))
        for i, node in enumerate(plain.graph.node)
        if not stays(node, types, keep)
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
            if node.op_type in TAKE_ANY_TYPE:
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
        half = numpy_helper.from_array(rounded_to_half({node.name: value}, advice=_ADVICE)[node.name])
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("value", half))


def _split_weights(model: onnx.ModelProto, half_weights: set[str]) -> None:
    """Store weights in the type they are used in, in both where both are used."""
    used = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    stored = []
    for tensor in model.graph.initializer:
        if tensor.name in half_weights:
            halves = rounded_to_half({tensor.name: numpy_helper.to_array(tensor)}, advice=_ADVICE)
            stored.append(numpy_helper.from_array(halves[tensor.name], f"{tensor.name}:fp16"))
        if tensor.name in used:
            stored.append(copy.deepcopy(tensor))
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)


def _rounded_weights(
    converted: onnx.ModelProto, plain: onnx.ModelProto
) -> tuple[tuple[WeightLoss, ...], int]:
    singles = {t.name: t for t in plain.graph.initializer}
    halves = [
        (t.name.removesuffix(":fp16"), numpy_helper.to_array(t))
        for t in converted.graph.initializer
        if t.data_type == TensorProto.FLOAT16 and t.name not in singles
    ]
    losses = (rounding_loss(name, numpy_helper.to_array(singles[name]), half) for name, half in halves)
    return tuple(loss for loss in losses if loss.vanished or loss.subnormal), sum(h.size for _, h in halves)
