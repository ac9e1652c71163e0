"""What a network says about the precision of its parts, and how a graph without a word of it is read.

Notes travel in the metadata of an ONNX file, so that a later call needs no trained network. They are written
only where the rules here would not give the same: a module whose products nothing bounds, and a module that
holds most of the weights, show in the graph itself.
"""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass

import onnx
from onnx import helper

from infnet_export.graph.modules import module_of
from infnet_export.graph.plain_weights import plain_weights
from infnet_export.graph.tensor_types import TensorTypes

NOTES_KEY = "infnet.precision"
_SHARES = ("Sigmoid", "HardSigmoid", "Softmax")


@dataclass(frozen=True, kw_only=True)
class PrecisionNotes:
    """What the parts of a network need.

    Parameters
    ----------
    fp32
        Modules that stay in single precision where the rest is in half: nothing bounds what they compute.
    divided
        Modules so large that the search of INT8 takes each of their children for a part of its own.
    """

    fp32: tuple[str, ...] = ()
    divided: tuple[str, ...] = ()


def with_notes(model: onnx.ModelProto, notes: PrecisionNotes) -> onnx.ModelProto:
    """A model that carries notes; the same model where the rules give them anyway."""
    if notes == notes_by_rule(model):
        return model
    noted = onnx.ModelProto()
    noted.CopyFrom(model)
    properties = {p.key: p.value for p in model.metadata_props}
    helper.set_model_props(noted, {**properties, NOTES_KEY: json.dumps(asdict(notes), sort_keys=True)})
    return noted


def notes_in(model: onnx.ModelProto) -> PrecisionNotes:
    """Notes that a model carries, else those by rule."""
    for entry in model.metadata_props:
        if entry.key == NOTES_KEY:
            noted = json.loads(entry.value)
            return PrecisionNotes(fp32=tuple(noted["fp32"]), divided=tuple(noted["divided"]))
    return notes_by_rule(model)


def notes_by_rule(model: onnx.ModelProto) -> PrecisionNotes:
    """What the graph itself shows.

    A module that multiplies feature maps of several channels with each other stays FP32; a gate, which
    multiplies with a map of one channel or with shares between 0 and 1, does not count. A module with more
    than half of the weights is divided, and so is one inside it.
    """
    plain = plain_weights(model)
    channels = TensorTypes(plain).channels
    shares = {name for node in plain.graph.node if node.op_type in _SHARES for name in node.output}
    sizes = {t.name: math.prod(t.dims) for t in plain.graph.initializer}
    products: dict[str, None] = {}  # in the order of the graph
    weights: Counter[str] = Counter()  # of a module with all that is inside
    total = 0
    for node in plain.graph.node:
        if not module_of(node):
            continue
        names = module_of(node)
        if node.op_type == "Mul" and all(
            channels.get(name, 0) > 1 and name not in shares for name in node.input
        ):
            products[names[0]] = None
        count = sum(sizes.get(name, 0) for name in node.input)
        total += count
        for depth in range(1, max(len(names), 2)):  # a layer itself has no parts
            weights[".".join(names[:depth])] += count
    divided = tuple(name for name, count in weights.items() if count > total / 2)
    return PrecisionNotes(fp32=tuple(products), divided=divided)
