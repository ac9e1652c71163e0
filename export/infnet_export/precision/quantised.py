"""A model in 8-bit integers, with the parts that suffer left in floating point by measurement.

Quantise-dequantise pairs (QDQ) around every operator that has an 8-bit kernel, weights with one scale for
each output channel, activations with ranges seen on training slices. ``int8`` says which parts to
leave in float.

Activations are unsigned by default: on x86 the fast product is unsigned by signed, and signed activations
were as slow as FP32. Weights use all 8 bits, because VNNI and AMX add the products in 32 bits; processors
before them saturate at 16 bits and need ``reduce_range``, which takes one bit from the weights.
"""

import contextlib
import io
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.modules import module_of
from infnet_export.graph.onnx_file import check_model
from infnet_export.graph.plain_weights import plain_weights
from infnet_export.graph.tensor_types import TensorTypes, like_outputs
from infnet_export.precision.notes import notes_in
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import InputError

Progress = Callable[[int, int], None]

FEWEST_SLICES = 8
"""Slices to calibrate on at least; the ranges of fewer are those of these slices."""

LOGITS = "logits"
NO_MODULE = "no module"
_OPERATORS = ("Conv", "Relu", "Add", "Mul", "Concat", "Split", "Resize", "AveragePool", "MaxPool", "Sigmoid")


class ActivationType(StrEnum):
    """8-bit type of the activations: unsigned for processors, signed around 0 for GPUs."""

    UINT8 = "uint8"
    INT8 = "int8"


class RangeMethod(StrEnum):
    """How a range follows from the values seen: all of them, or all but the rarest."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"


@dataclass(frozen=True)
class Int8Options:
    """How a model is quantised.

    Parameters
    ----------
    percentile : %
        Share of the values inside the range, for ``RangeMethod.PERCENTILE``.
    reduce_range
        7-bit weights, for x86 processors without VNNI.
    """

    activations: ActivationType = ActivationType.UINT8
    method: RangeMethod = RangeMethod.MINMAX
    percentile: float = 99.999
    reduce_range: bool = False


DEFAULT_OPTIONS = Int8Options()


@dataclass(frozen=True, eq=False)
class Ranged:
    """A model with the ranges of its activations, ready to be quantised in parts.

    Parameters
    ----------
    model
        In FP32, every node with a name.
    ranges
        ONNX Runtime's own, tensor to range.
    part_of
        Node to the part it is quantised with, see :func:`parts_of`.
    share
        Part to its share of the multiplications.
    """

    model: onnx.ModelProto
    ranges: Any
    part_of: dict[str, str]
    share: dict[str, float]
    slices: FloatArray
    options: Int8Options


def measure_ranges(
    model: onnx.ModelProto, slices: FloatArray, options: Int8Options = DEFAULT_OPTIONS
) -> Ranged:
    """Measure the ranges of all activations.

    Parameters
    ----------
    slices : (n, 3, size, size)

    Raises
    ------
    InputError
        If there are too few slices.
    """
    if len(slices) < FEWEST_SLICES:
        raise InputError(
            f"{len(slices)} slices to calibrate on, expected at least {FEWEST_SLICES} that show what the "
            "model will see; give more training slices",
            code=3121,
        )
    typed = plain_weights(model)
    typed.graph.value_info.extend(TensorTypes(typed).between)
    taken: Counter[str] = Counter()
    for node in typed.graph.node:
        name = node.name or node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
    part_of = parts_of(typed, notes_in(model).divided)
    return Ranged(typed, _ranges(typed, slices, options), part_of, _shares(typed, part_of), slices, options)


def quantise(ranged: Ranged, float_parts: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Quantise a model but for some parts.

    Parameters
    ----------
    float_parts
        Parts that stay as they are, see :func:`parts_of`.

    Returns
    -------
    Checked, with the metadata of the model that was calibrated.
    """
    quantised = quantised_unchecked(ranged, float_parts)
    check_model(quantised)
    return quantised


def quantised_unchecked(ranged: Ranged, float_parts: tuple[str, ...]) -> onnx.ModelProto:
    """:func:`quantise` for a model that is measured and thrown away."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    options = ranged.options
    signed = options.activations is ActivationType.INT8
    start = onnx.ModelProto()
    start.CopyFrom(ranged.model)
    quantizer = QDQQuantizer(
        start,
        per_channel=True,
        reduce_range=options.reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if signed else QuantType.QUInt8,
        tensors_range=ranged.ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[node for node, part in ranged.part_of.items() if part in float_parts],
        op_types_to_quantize=list(_OPERATORS),
        extra_options={"ActivationSymmetric": signed},
    )
    with _silence():
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    del quantised.metadata_props[:], quantised.graph.value_info[:]
    quantised.metadata_props.extend(ranged.model.metadata_props)
    return quantised


def parts_of(model: onnx.ModelProto, divided: Collection[str]) -> dict[str, str]:
    """Part of the model each node is quantised with.

    Whatever gives maps with as many channels as an output is ``logits``; the rest goes by module. What
    belongs to no module, or to one without weights, goes with what it reads.

    Parameters
    ----------
    model
        With the types and shapes of its tensors.
    divided
        Modules of which each child is a part.
    """
    logits = like_outputs((*model.graph.value_info, *model.graph.output), model.graph.output)
    weights = {t.name for t in model.graph.initializer}
    part_names = {node.name: _part(node, divided) for node in model.graph.node}
    weighted = {part_names[node.name] for node in model.graph.node if weights & set(node.input)}
    producer: dict[str, str] = {}
    parts: dict[str, str] = {}
    for node in model.graph.node:
        module = part_names[node.name]
        if any(name in logits for name in node.output):
            part = LOGITS
        elif module and module in weighted:
            part = module
        else:
            part = next((producer[name] for name in node.input if name in producer), module or NO_MODULE)
        parts[node.name] = part
        producer |= dict.fromkeys(node.output, part)
    return parts


def _part(node: onnx.NodeProto, divided: Collection[str]) -> str:
    names, depth = module_of(node), 1
    while depth < len(names) and ".".join(names[:depth]) in divided:
        depth += 1
    return ".".join(names[:depth])


def _shares(model: onnx.ModelProto, part_of: dict[str, str]) -> dict[str, float]:
    """Share of the convolutions' multiplications by part, for one slice."""
    shapes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.value_info, *model.graph.output)
    }
    kernels = {t.name: t.dims for t in model.graph.initializer}
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in kernels:
            per_pixel = math.prod(kernels[node.input[1]][1:])
            counts[part_of[node.name]] += per_pixel * math.prod(shapes.get(node.output[0], [0]))
    total = counts.total() or 1
    return {part: count / total for part, count in counts.items()}


def _ranges(model: onnx.ModelProto, slices: FloatArray, options: Int8Options) -> Any:  # noqa: ANN401 - untyped
    import onnxruntime.quantization as ort

    (source,) = (value.name for value in model.graph.input)
    if options.method is RangeMethod.PERCENTILE:
        method, extra = (
            ort.CalibrationMethod.Percentile,
            {"percentile": options.percentile, "symmetric": False},
        )
    else:
        method, extra = ort.CalibrationMethod.MinMax, {}
    with tempfile.TemporaryDirectory(prefix="infnet-int8-") as folder, _silence():
        plain = Path(folder) / "model.onnx"
        onnx.save(model, plain)
        calibrator = ort.create_calibrator(
            plain,
            augmented_model_path=str(Path(folder) / "probed.onnx"),
            calibrate_method=method,
            extra_options=extra,
        )
        for one in slices:  # one at a time, because it keeps every tensor of what it is given at once
            calibrator.collect_data(_Reader(source, one[None]))
        return calibrator.compute_data()


class _Reader:
    """One batch, the way ONNX Runtime asks for it."""

    def __init__(self, name: str, batch: FloatArray) -> None:
        self._left = iter([{name: batch}])

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._left, None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the quantiser's remarks from stdout, which is for results, and its advice from the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
