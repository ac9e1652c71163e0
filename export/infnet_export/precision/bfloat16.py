"""What a model computes in bfloat16, on any processor: every tensor of a float layer rounded to it and back.

A unit for bfloat16 rounds what it multiplies to 8 bits and adds the products in single precision. So do the
nodes here: their weights are rounded, their inputs and results go through a pair of casts, and the products
are added in single precision. Quantised layers stay as they are, and so does what the graph gives. A library
that merges layers rounds less often than this.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import check_model
from infnet_export.graph.plain_weights import plain_weights
from infnet_export.graph.tensor_types import TensorTypes
from infnet_export.precision.choice import half_slots
from infnet_runtime.arrays import FloatArray

_TO_8_BIT, _FROM_8_BIT = "QuantizeLinear", "DequantizeLinear"


def emulated_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that gives in single precision what the given one would give in bfloat16.

    Parameters
    ----------
    model
        In single precision or with quantised layers; stays as it is.

    Returns
    -------
    Checked, with the metadata of ``model``.

    Raises
    ------
    ModelError
        If the model has inner graphs, or a tensor whose type is not known.
    """
    plain = plain_weights(model)
    layers = _FloatLayers(plain)
    changed = onnx.ModelProto()
    changed.CopyFrom(plain)
    graph = changed.graph
    del graph.node[:], graph.value_info[:]
    for value in plain.graph.input:
        graph.node.extend(_casts(value.name) if value.name in layers.rounded else ())
    for i, node in enumerate(plain.graph.node):
        graph.node.append(layers.reading_rounded(i))
        for name in node.output:
            graph.node.extend(_casts(name) if name in layers.rounded else ())
    weights = {tensor.name: tensor for tensor in plain.graph.initializer}
    for name in layers.rounded_weights:
        rounded = rounded_to_bf16(numpy_helper.to_array(weights[name]))
        graph.initializer.append(numpy_helper.from_array(rounded, _rounded(name)))
    check_model(changed)
    return changed


def rounded_to_bf16(values: FloatArray) -> FloatArray:
    """The nearest numbers that bfloat16 has, of two as near the even one, in single precision.

    Examples
    --------
    >>> rounded_to_bf16(np.array([1.0, 1.003, 1.005, 1.00390625, 1.01171875], np.float32)).tolist()
    [1.0, 1.0, 1.0078125, 1.0, 1.015625]
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    last_kept = (bits >> 16) & 1
    return ((bits + 0x7FFF + last_kept) & 0xFFFF0000).astype(np.uint32).view(np.float32)


class _FloatLayers:
    """Which nodes of a graph compute in float, and what of theirs is rounded.

    Parameters
    ----------
    model
        As of :func:`~infnet_export.graph.plain_weights.plain_weights`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._types = TensorTypes(model)
        self._nodes = list(model.graph.node)
        self._given = {value.name for value in model.graph.output}
        opsets = {o.domain.removeprefix("ai.onnx"): o.version for o in model.opset_import}
        self._dequantised = {n for node in self._nodes if node.op_type == _FROM_8_BIT for n in node.output}
        self._readers: dict[str, list[str]] = {}  # tensor to the operators that read it
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node.op_type)
        self._slots = {
            i: half_slots(node, self._types, opsets.get(node.domain, 0))
            for i, node in enumerate(self._nodes)
            if node.op_type not in (_TO_8_BIT, _FROM_8_BIT, "Cast")
        }
        self._slots = {i: slots for i, slots in self._slots.items() if not self._in_8_bit(i, slots[0])}
        self._made = set(self._results())
        read = {self._nodes[i].input[k] for i, slots in self._slots.items() for k in slots[0]}
        self.rounded_weights = sorted(read & self._types.weights)
        """Names of the weights that float layers take."""
        self.rounded = (read | self._made) - self._types.weights - self._unread()
        """Names of the activations that float layers take or give."""

    def reading_rounded(self, i: int) -> onnx.NodeProto:
        """A node that takes the rounded values where there are some for it."""
        node = onnx.NodeProto()
        node.CopyFrom(self._nodes[i])
        for k, name in enumerate(node.input):
            of_layer = k in self._slots.get(i, (frozenset(), frozenset()))[0]
            if (of_layer and name in self._types.weights) or (
                name in self.rounded and (of_layer or name in self._made)
            ):
                node.input[k] = _rounded(name)
        return node

    def _in_8_bit(self, i: int, inputs: frozenset[int]) -> bool:
        """Whether a node is a quantised layer: all it takes was in 8 bit, all it gives is put into 8 bit."""
        node = self._nodes[i]
        taken = all(node.input[k] in self._dequantised for k in inputs)
        readers = [reader for name in node.output for reader in self._readers.get(name, ["the host"])]
        return bool(inputs) and taken and set(readers) == {_TO_8_BIT}

    def _results(self) -> Iterator[str]:
        for i, (_, outputs) in self._slots.items():
            yield from (self._nodes[i].output[j] for j in outputs)

    def _unread(self) -> set[str]:
        """What only the host reads: it leaves the graph in single precision."""
        return {name for name in self._given if name not in self._readers}


def _rounded(name: str) -> str:
    return f"{name}:bf16"


def _casts(name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    narrow = f"{name}:narrow"
    return (
        helper.make_node("Cast", [name], [narrow], name=f"{narrow}/Cast", to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [narrow], [_rounded(name)], name=f"{name}:bf16/Cast", to=TensorProto.FLOAT),
    )
