"""Weights stored in half precision, arithmetic as before.

Each large convolution kernel becomes FP16 with a ``Cast`` to FP32 behind it, which a backend computes once at
load. The file is half as large; what changes is one rounding of each weight.

Biases and small kernels stay FP32. The small ones are the stem and the high resolutions, whose rounding
reaches everything behind them. On three real slices and a briefly trained network, rounding every kernel
moved probabilities by up to 2.5e-3 (mean 7e-5), rounding the large ones alone by up to 1.8e-4 (mean 8e-6).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_runtime.arrays import FloatArray, HalfArray
from infnet_runtime.errors import GateError

_LARGEST = float(np.finfo(np.float16).max)
SMALL_KERNEL = 60_000
"""Kernels with fewer weights stay FP32, together 4 % of the file."""

_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


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
    _refuse_overflow({name: numpy_helper.to_array(t) for name, t in singles.items()})
    reports = []
    for name, tensor in singles.items():
        single = numpy_helper.to_array(tensor)
        half = single.astype(np.float16)
        reports.append(_report(single, half))
        tensor.CopyFrom(numpy_helper.from_array(half, name))
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
    return changed, _sum(reports)


def _single(name: str) -> str:
    return f"{name}:fp32"


def _refuse_overflow(arrays: dict[str, FloatArray]) -> None:
    with np.errstate(over="ignore"):  # that is what is looked for
        counts = {name: int(np.isinf(a.astype(np.float16)).sum()) for name, a in arrays.items()}
    total = sum(counts.values())
    if total:
        worst = max(arrays, key=lambda name: float(np.abs(arrays[name]).max()))
        raise GateError(
            f"{total} weights are too large for half precision, which ends at {_LARGEST:g}: the largest is "
            f"{np.abs(arrays[worst]).max():g} in {worst}; export with --weights fp32",
            code=7001,
        )


def _report(single: FloatArray, half: HalfArray) -> HalfReport:
    zero = half == 0
    return HalfReport(
        weights=single.size,
        vanished=int((zero & (single != 0)).sum()),
        subnormal=int((~zero & (np.abs(half) < _SMALLEST_NORMAL)).sum()),
        largest=float(np.abs(single).max()),
    )


def _sum(reports: list[HalfReport]) -> HalfReport:
    def total(name: str) -> Iterator[int]:
        return (getattr(r, name) for r in reports)

    return HalfReport(
        weights=sum(total("weights")),
        vanished=sum(total("vanished")),
        subnormal=sum(total("subnormal")),
        largest=max((r.largest for r in reports), default=0.0),
    )
