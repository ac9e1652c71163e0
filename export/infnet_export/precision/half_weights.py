"""Weights stored in half precision, arithmetic as before.

Each large convolution kernel becomes FP16 with a ``Cast`` to FP32 behind it, which a backend computes once at
load. The file is half as large; what changes is one rounding of each weight.

Biases and small kernels stay FP32. The small ones are the stem and the high resolutions, whose rounding
reaches everything behind them. On three real slices and a briefly trained network, rounding every kernel
moved probabilities by up to 2.5e-3 (mean 7e-5), rounding the large ones alone by up to 1.8e-4 (mean 8e-6).
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.precision.half import rounded_to_half, rounding_loss
from infnet_runtime.arrays import AnyArray, HalfArray

SMALL_KERNEL = 60_000
"""Kernels with fewer weights stay FP32, together 4 % of the file."""


@dataclass(frozen=True)
class HalfReport:
    """What the rounding to half precision did.

    Parameters
    ----------
    weights
        Weights that were rounded.
    vanished
        Weights that became 0.
    subnormal
        Weights below 6.1e-5, which keep fewer than 11 bits.
    largest
        Largest magnitude; half precision ends at 65504.
    """

    weights: int
    vanished: int
    subnormal: int
    largest: float


def with_half_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, HalfReport]:
    """Store the large convolution kernels in half precision.

    Parameters
    ----------
    model
        Stays as it is.

    Raises
    ------
    GateError
        If a weight is too large for half precision; nothing is clipped.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    singles = {
        t.name: t
        for t in graph.initializer
        if t.name in kernels and t.data_type == TensorProto.FLOAT and math.prod(t.dims) >= SMALL_KERNEL
    }
    arrays = {name: numpy_helper.to_array(t) for name, t in singles.items()}
    halves = rounded_to_half(arrays, advice="export with --weights fp32")
    for name, half in halves.items():
        singles[name].CopyFrom(numpy_helper.from_array(half, name))
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in singles:
                node.input[i] = _single(name)
    casts = [
        helper.make_node("Cast", [name], [_single(name)], name=f"{name}/Cast", to=TensorProto.FLOAT)
        for name in singles
    ]
    nodes = [*casts, *graph.node]  # first, because they need nothing but the weights
    del graph.node[:]
    graph.node.extend(nodes)
    return changed, _report(arrays, halves)


def _single(name: str) -> str:
    return f"{name}:fp32"


def _report(singles: dict[str, AnyArray], halves: dict[str, HalfArray]) -> HalfReport:
    losses = [rounding_loss(name, singles[name], half) for name, half in halves.items()]
    return HalfReport(
        weights=sum(half.size for half in halves.values()),
        vanished=sum(loss.vanished for loss in losses),
        subnormal=sum(loss.subnormal for loss in losses),
        largest=max((float(np.abs(single).max()) for single in singles.values()), default=0.0),
    )
