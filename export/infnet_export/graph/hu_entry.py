"""A second entry to a model: HU of whole slices in, probabilities on their own grid out.

For hosts without Python. What ``infnet_runtime.slices.preprocess`` does around the network becomes part of
the graph: window, resize, normalisation, then the resize back and the temperature. The number of rows and
columns is fixed, so the antialiased resizes are products with the very matrices that the Python code uses.

What stays with the host: the canonical orientation, the crop to the box around both lungs with the margin of
the manifest (rows and columns here are those of the box), the threshold of the manifest, and
leaving out what lies outside the lungs.
"""

import json
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from infnet_export.graph.coarse_logits import without_coarse_logits
from infnet_export.graph.onnx_file import BATCH_DIMENSION, check_model
from infnet_runtime.arrays import FloatArray
from infnet_runtime.model.manifest import ENTRY_KEY, METADATA_KEY, ManifestError, ModelManifest, OutputSpec
from infnet_runtime.model.specs import EQUAL, SOFTMAX
from infnet_runtime.slices.preprocess import resize_matrix

HU_INPUT = "hu"

_NETWORK = "network_"  # before the name of what the network itself gives
_SMALLEST = 1e-7  # where infnet_runtime.slices.temperature cuts off probabilities before their logit
_Weight = FloatArray | npt.NDArray[np.int64] | np.float32


def with_hu_entry(model: onnx.ModelProto, rows: int, columns: int) -> onnx.ModelProto:
    """Put the preprocessing and its inverse into a model.

    Parameters
    ----------
    model
        With its manifest; input (n, 3, size, size), outputs (n, channels, size, size), all FP32. Stays as it
        is.
    rows, columns
        Of the slices in HU.

    Returns
    -------
    Input ``hu`` int16 (n, rows, columns), outputs of the same names as before, FP32: calibrated
    probabilities, (n, rows, columns) of an output with one channel, else (n, channels, rows, columns). The
    runtime refuses such a file, because it does all this itself.

    Raises
    ------
    ValueError
        If rows or columns are not positive.
    ManifestError
        If the manifest is damaged, or the network takes neighbouring planes, which one slice does not have.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"slices have {rows} x {columns} pixels, expected at least one along each axis")
    model = without_coarse_logits(model)  # of no use where the way back to the slice is in the graph
    properties = {p.key: p.value for p in model.metadata_props}
    manifest = ModelManifest.from_json(properties[METADATA_KEY], source="the model to give an HU entry")
    if manifest.preprocess.channels != EQUAL:
        raise ManifestError(
            f"the model takes '{manifest.preprocess.channels}' as channels, an HU entry takes one slice: "
            f"channels '{EQUAL}'",
            code=4022,
        )
    (slices,) = (i.name for i in model.graph.input)
    before = _preprocessing(manifest, rows, columns)
    specs = {output.name: output for output in manifest.outputs}
    outputs = [specs[value.name] for value in model.graph.output]
    after = {output.name: _inverse(manifest, output, rows, columns) for output in outputs}
    graph = helper.make_graph(
        [
            *before.ending_in(slices),
            *_with_outputs_renamed(model.graph.node, after),
            *(node for name, chain in after.items() for node in chain.ending_in(name)),
        ],
        model.graph.name,
        [_value(HU_INPUT, TensorProto.INT16, rows, columns)],
        [
            _value(o.name, TensorProto.FLOAT, *((o.channels,) if o.channels > 1 else ()), rows, columns)
            for o in outputs
        ],
        [*before.weights, *model.graph.initializer, *(w for chain in after.values() for w in chain.weights)],
    )
    extended = helper.make_model(
        graph,
        producer_name=model.producer_name,
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
    )
    entry = json.dumps({"input": HU_INPUT, "unit": "HU", "rows": rows, "columns": columns})
    helper.set_model_props(extended, {**properties, ENTRY_KEY: entry})
    extended.model_version = model.model_version
    extended.doc_string = (
        f"{model.doc_string} Takes HU of {rows} x {columns} pixels: window, resize and temperature are "
        "inside, the crop to the lungs and the threshold are not."
    )
    check_model(extended)
    return extended


def _preprocessing(manifest: ModelManifest, rows: int, columns: int) -> "_Chain":
    """``preprocess.to_network``: (n, rows, columns), HU -> (n, 3, size, size)."""
    spec = manifest.preprocess
    low, high = (np.float32(v) for v in spec.window_hu)
    chain = _Chain("preprocess", HU_INPUT)
    chain.cast_to_float()
    chain.then("Sub", lowest=low)
    chain.then("Div", width=high - low)
    chain.then("Clip", zero=np.float32(0), one=np.float32(1))
    chain.resize((rows, columns), (spec.size, spec.size))
    chain.then("Unsqueeze", axis=np.array([1], np.int64))  # (n, size, size) -> (n, 1, size, size)
    chain.then("Sub", mean=np.array(spec.mean, np.float32)[:, None, None])  # -> (n, 3, size, size)
    chain.then("Div", std=np.array(spec.std, np.float32)[:, None, None])
    return chain


def _inverse(manifest: ModelManifest, output: OutputSpec, rows: int, columns: int) -> "_Chain":
    """``preprocess.from_network`` cut to 0..1, (n, channels, size, size) -> (n, channels, rows, columns).

    Of one channel the result is (n, rows, columns).
    """
    size = manifest.preprocess.size
    module = "postprocess" if output is manifest.output else f"postprocess.{output.name}"
    chain = _Chain(module, f"{_NETWORK}{output.name}")
    if output.channels == 1:
        chain.then("Squeeze", axis=np.array([1], np.int64))
    chain.resize((size, size), (rows, columns))
    probability = chain.then("Clip", zero=np.float32(0), one=np.float32(1))
    if output.temperature == 1:
        return chain
    temperature = np.float32(output.temperature)
    if output.activation == SOFTMAX:
        # The logits are the logarithms but for what all channels share, which a softmax does not see.
        chain.then("Max", smallest=np.float32(_SMALLEST))
        chain.then("Log")
        chain.then("Div", temperature=temperature)
        chain.softmax()
        return chain
    # logit(p) = log(p) - log(1 - p), both cut off where the runtime cuts the probability
    chain.then("Max", smallest=np.float32(_SMALLEST))
    log_infected = chain.then("Log")
    chain.then("Sub", probability, after=False, one=np.float32(1))
    chain.then("Max", smallest=np.float32(_SMALLEST))
    log_healthy = chain.then("Log")
    chain.then("Sub", log_infected, log_healthy)
    chain.then("Div", temperature=temperature)
    scaled = chain.then("Sigmoid")
    # No pixel changes its side of 0.5 by rounding.
    half = np.float32(0.5)
    below = chain.then("Min", scaled, below_half=np.nextafter(half, np.float32(0)))
    is_below = chain.then("Less", probability, half=half)
    chain.then("Where", is_below, below, scaled)
    return chain


class _Chain:
    """Nodes one after the other, named after one module; each takes the last value unless told otherwise."""

    def __init__(self, module: str, start: str) -> None:
        self._module = module
        self._last = start
        self._nodes: list[NodeProto] = []
        self._weights: dict[str, TensorProto] = {}

    @property
    def weights(self) -> list[TensorProto]:
        """Constants of all nodes."""
        return list(self._weights.values())

    def then(self, operator: str, *inputs: str, after: bool = True, **weights: _Weight) -> str:
        """Append a node whose inputs are values and then constants, or the other way round.

        Returns
        -------
        Name of its output.
        """
        constants = [self._stored(name, weight) for name, weight in weights.items()]
        values = list(inputs) or [self._last]
        return self._append(operator, [*values, *constants] if after else [*constants, *values])

    def cast_to_float(self) -> None:
        """Integers to FP32."""
        self._append("Cast", [self._last], to=TensorProto.FLOAT)

    def softmax(self) -> None:
        """Over the channels."""
        self._append("Softmax", [self._last], axis=1)

    def resize(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        """``preprocess.resize`` of (..., rows, columns); an axis that keeps its length is left alone."""
        if new[0] != old[0]:
            rows = self._stored("rows", resize_matrix(old[0], new[0]))
            self._append("MatMul", [rows, self._last])
        if new[1] != old[1]:
            columns = self._stored("columns", np.ascontiguousarray(resize_matrix(old[1], new[1]).T))
            self._append("MatMul", [self._last, columns])

    def ending_in(self, name: str) -> list[NodeProto]:
        """All nodes; the last one gives ``name``."""
        self._nodes[-1].output[0] = name
        return self._nodes

    def _append(self, operator: str, inputs: list[str], **attributes: int) -> str:
        count = sum(node.op_type == operator for node in self._nodes)
        name = f"{self._module}/{operator}" + (f"_{count + 1}" if count else "")
        self._last = f"{name}:0"
        node = helper.make_node(operator, inputs, [self._last], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return self._last

    def _stored(self, name: str, weight: _Weight) -> str:
        full = f"{self._module}.{name}"
        self._weights[full] = numpy_helper.from_array(np.asarray(weight), full)
        return full


def _with_outputs_renamed(nodes: Iterable[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    renamed = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        for names in (copy.input, copy.output):
            for i, name in enumerate(names):
                if name in outputs:
                    names[i] = f"{_NETWORK}{name}"
        renamed.append(copy)
    return renamed


def _value(name: str, element: int, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, [BATCH_DIMENSION, *shape])
