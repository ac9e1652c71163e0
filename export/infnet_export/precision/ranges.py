"""How large the numbers inside a model become on real slices, and whether half precision can hold them.

ONNX Runtime on the CPU computes an FP16 model in FP32, so it shows the rounding of the weights and never an
overflow. What shows it is the model in FP32 with every tensor looked at. That speaks for the slices it saw
and no others, hence the margin.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from infnet_export.graph.plain_weights import plain_weights
from infnet_export.graph.raw_session import raw_session
from infnet_export.graph.tensor_types import TensorTypes
from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.half import LARGEST_HALF
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError

MARGIN = 4.0
"""How many times larger a tensor may be on a slice that was not looked at."""
_NAMED = 5  # offenders in a message; the report has all of them


@dataclass(frozen=True)
class RangeReport:
    """Result of the range check.

    Parameters
    ----------
    slices
        Number of slices looked at.
    limit
        Largest magnitude that passes.
    tensors
        Number of tensors held in half precision.
    largest
        The twenty largest of them, the largest first.
    offenders
        Tensor to how many times the limit it reaches; infinite where it is not finite.
    largest_fp32
        The largest magnitude among the tensors that stay in single precision: what they are kept for.
    """

    slices: int
    limit: float
    tensors: int
    largest: dict[str, float]
    offenders: dict[str, float]
    largest_fp32: dict[str, float]

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold; what is infinite becomes a word."""
        values = asdict(self)
        for name in ("largest", "offenders", "largest_fp32"):
            values[name] = {k: v if math.isfinite(v) else "not finite" for k, v in values[name].items()}
        return values


def measure_magnitudes(model: onnx.ModelProto, slices: FloatArray, *, threads: int = 1) -> dict[str, float]:
    """Largest magnitude of every FP32 activation of a model, its input and output included.

    The largest is taken inside the graph, so that no tensor has to be kept.

    Parameters
    ----------
    model
        In single precision; stays as it is.
    slices : (n, 3, size, size)
        Run one at a time.

    Returns
    -------
    Name of the tensor to magnitude, infinite where a value is not finite.

    Raises
    ------
    GateError
        If there are no slices.
    """
    if len(slices) == 0:
        raise GateError("no slices to measure the ranges on; give some real ones", code=7030)
    probed, names = _with_probes(plain_weights(model))
    session = raw_session(probed, threads=threads)
    (source,) = (i.name for i in session.get_inputs())
    probes = [probe for name in names for probe in _probes(name)]
    rows = np.array([session.run(probes, {source: one[None]}) for one in slices], np.float64)
    rows = rows.reshape(len(slices), len(names), 2)  # the largest, the sum
    largest = np.where(np.isfinite(rows).all(2), rows[:, :, 0], np.inf).max(0)
    return dict(zip(names, largest.tolist(), strict=True))


def with_offenders(keep: KeepFp32, report: RangeReport) -> KeepFp32:
    """Also keep what makes or takes a tensor that is too large for half precision.

    What is not finite is left for :func:`check_ranges` to refuse: single precision cannot hold it either.
    """
    large = {name for name, factor in report.offenders.items() if math.isfinite(factor)}
    return replace(keep, tensors=keep.tensors | large)


def check_ranges(magnitudes: Mapping[str, float], half_tensors: Iterable[str], *, slices: int) -> RangeReport:
    """Refuse half precision for a model whose tensors come too near its end.

    Parameters
    ----------
    magnitudes
        Of :func:`measure_magnitudes`.
    half_tensors
        Tensors held in half precision, ``Float16Report.half_tensors``.
    slices
        Number of slices behind ``magnitudes``.

    Raises
    ------
    GateError
        If one of them passes a quarter of 65504, naming the largest; or none of them was measured.
    """
    report = range_report(magnitudes, half_tensors, slices=slices)
    if report.tensors == 0:
        raise GateError(
            "none of the tensors in half precision was measured; measure the model that was converted",
            code=7031,
        )
    if report.offenders:
        named = [f"{name} by {factor:.3g}" for name, factor in list(report.offenders.items())[:_NAMED]]
        more = len(report.offenders) - len(named)
        raise GateError(
            f"{len(report.offenders)} of {report.tensors} tensors are too large for half precision on "
            f"{slices} slices: they pass {report.limit:g}, a quarter of its end, {', '.join(named)} times"
            f"{f' and {more} more' if more else ''}; keep their modules in FP32",
            code=7032,
        )
    return report


def range_report(magnitudes: Mapping[str, float], half_tensors: Iterable[str], *, slices: int) -> RangeReport:
    """What :func:`check_ranges` found, whether it passes or not."""
    half = {name: magnitudes[name] for name in half_tensors if name in magnitudes}
    limit = LARGEST_HALF / MARGIN
    largest = _largest_first(half)
    return RangeReport(
        slices=slices,
        limit=limit,
        tensors=len(half),
        largest=dict(list(largest.items())[:20]),
        offenders={name: value / limit for name, value in largest.items() if value > limit},
        largest_fp32=dict(
            list(_largest_first({n: v for n, v in magnitudes.items() if n not in half}).items())[:20]
        ),
    )


def _largest_first(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def _probes(name: str) -> tuple[str, str]:
    return f"{name}:largest", f"{name}:sum"


def _with_probes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The model with largest magnitude and sum of magnitudes of every activation as outputs.

    A maximum may pass over a NaN, a sum does not.
    """
    types = TensorTypes(model)
    produced = [v.name for v in model.graph.input] + [o for node in model.graph.node for o in node.output]
    names = [name for name in produced if types.is_float(name) and name not in types.weights]
    for name in names:
        largest, total = _probes(name)
        model.graph.node.extend(
            [
                helper.make_node("Abs", [name], [f"{name}:abs"]),
                helper.make_node("ReduceMax", [f"{name}:abs"], [largest], keepdims=0),
                helper.make_node("ReduceSum", [f"{name}:abs"], [total], keepdims=0),
            ]
        )
        model.graph.output.extend(
            helper.make_tensor_value_info(probe, TensorProto.FLOAT, []) for probe in (largest, total)
        )
    return model, names
