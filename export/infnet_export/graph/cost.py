"""What a graph costs: multiply-adds, operations on single values, and memory traffic, node by node.

Counted from the shapes, so the same on every machine. Each node reads its inputs and writes its outputs once,
as the file says. A backend that fuses nodes moves less, most of all in a graph with many small ones: read
traffic as a bound, and compare two graphs by it with that in mind.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

_MATRIX_OPERATORS = ("Conv", "Gemm", "MatMul")
# They move values, or say how others are moved.
_MOVING_OPERATORS = (
    *("Concat", "Split", "Slice", "Gather", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Pad"),
    *("Identity", "Shape", "Constant", "ConstantOfShape", "Flatten"),
)
_OPERATIONS_OF_A_VALUE = {"BatchNormalization": 2, "Resize": 4}
"""Scale and offset; two neighbours along each axis. A pool: the pixels of its window. All others: one."""


@dataclass(frozen=True)
class NodeCost:
    """Cost of one node, or the sum over several.

    Parameters
    ----------
    multiply_adds
        Of convolutions and matrix products.
    operations
        On single values, everywhere else: additions, activations, pools, resizes.
    read, written : bytes
        Of activations; inputs read by several nodes count for each.
    weights : bytes
        As stored in the file.
    """

    multiply_adds: int = 0
    operations: int = 0
    read: int = 0
    written: int = 0
    weights: int = 0

    def __add__(self, other: "NodeCost") -> "NodeCost":
        return NodeCost(*(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True)))


@dataclass(frozen=True)
class GraphCost:
    """Cost of a graph for one slice.

    Parameters
    ----------
    nodes
        Name of the node, its operator and its cost, in the order of the graph. What depends on weights alone
        is computed once at load and is not there.
    peak : bytes
        Most activations alive at a time when nodes run in the order of the file, input and output included.
    """

    nodes: tuple[tuple[str, str, NodeCost], ...]
    peak: int

    @property
    def total(self) -> NodeCost:
        """Sum over all nodes."""
        return sum((cost for *_, cost in self.nodes), start=NodeCost())

    def by_operator(self) -> dict[str, tuple[int, NodeCost]]:
        """Operator to number of nodes and their cost, the most frequent first."""
        counts = Counter(operator for _, operator, _ in self.nodes)
        return {
            operator: (count, sum((c for _, o, c in self.nodes if o == operator), start=NodeCost()))
            for operator, count in counts.most_common()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, nodes left out."""
        return {
            "nodes": len(self.nodes),
            "peak_activation_bytes": self.peak,
            "total": asdict(self.total),
            "by_operator": {o: {"nodes": n, **asdict(c)} for o, (n, c) in self.by_operator().items()},
        }

    def to_markdown(self) -> str:
        """Table by operator, the sum last."""
        rows = [[o, str(n), *_cells(cost)] for o, (n, cost) in self.by_operator().items()]
        rows.append(["**all**", str(len(self.nodes)), *_cells(self.total)])
        return _table(["operator", "nodes", *_COLUMNS], rows)


@dataclass(frozen=True)
class Comparison:
    """A graph before and after its rewrites."""

    before: GraphCost
    after: GraphCost

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), "ratio": self.ratios()}

    def ratios(self) -> dict[str, float]:
        """After divided by before, for every number that is not 0 before."""
        return {
            name: after / before
            for name, (before, after) in self._pairs().items()
            if before  # by 0: no ratio
        }

    def to_markdown(self) -> str:
        """Table of the sums side by side, then the number of nodes by operator."""
        ratios = self.ratios()
        rows = [
            [name, f"{before:,}", f"{after:,}", f"{ratios[name]:.3f}" if name in ratios else "-"]
            for name, (before, after) in self._pairs().items()
        ]
        counts = [{o: n for o, (n, _) in g.by_operator().items()} for g in (self.before, self.after)]
        operators = sorted(set().union(*counts), key=lambda o: -max(c.get(o, 0) for c in counts))
        nodes = [[o, *(str(c.get(o, 0)) for c in counts)] for o in operators]
        return (
            _table(["one slice", "before", "after", "ratio"], rows)
            + "\n\n"
            + _table(["operator", "nodes before", "after"], nodes)
        )

    def _pairs(self) -> dict[str, tuple[int, int]]:
        old, new = self.before.total, self.after.total
        return {
            "nodes": (len(self.before.nodes), len(self.after.nodes)),
            "multiply-adds": (old.multiply_adds, new.multiply_adds),
            "operations on values": (old.operations, new.operations),
            "activations read, bytes": (old.read, new.read),
            "activations written, bytes": (old.written, new.written),
            "most activations alive, bytes": (self.before.peak, self.after.peak),
            "weights, bytes": (old.weights, new.weights),
        }


def graph_cost(model: onnx.ModelProto) -> GraphCost:
    """Count what one slice costs.

    Parameters
    ----------
    model
        With one free dimension at most, the batch, which becomes 1; stays as it is.

    Raises
    ------
    ValueError
        If the shape of a value cannot be told.
    """
    graph = _with_one_slice(model).graph
    weights = {t.name: _bytes(t.data_type, t.dims) for t in graph.initializer}
    values = _values((*graph.input, *graph.output, *graph.value_info))
    shapes = {t.name: tuple(t.dims) for t in graph.initializer} | {n: s for n, (_, s) in values.items()}
    nodes, active = [], []
    counted: set[str] = set()  # weights of a kernel that several nodes share are stored once
    for node in graph.node:
        inputs = [i for i in node.input if i]
        if all(i in weights for i in inputs):
            # Computed at load: its result counts as a weight with the bytes it is stored in.
            stored = sum(weights[i] for i in inputs)
            weights |= dict.fromkeys(node.output, stored)
            continue
        missing = [v for v in (*inputs, *node.output) if v and v not in shapes]
        if missing:
            raise ValueError(f"{node.name}: the shape of {missing[0]} cannot be told from the model")
        own = {i for i in inputs if i in weights} - counted
        counted |= own
        cost = NodeCost(
            *_arithmetic(node, shapes),
            read=sum(_bytes(*values[i]) for i in inputs if i not in weights),
            written=sum(_bytes(*values[o]) for o in node.output if o),
            weights=sum(weights[i] for i in own),
        )
        nodes.append((node.name, node.op_type, cost))
        active.append(node)
    return GraphCost(tuple(nodes), _peak(active, graph, {n: _bytes(*v) for n, v in values.items()}))


def _with_one_slice(model: onnx.ModelProto) -> onnx.ModelProto:
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]  # may say that the batch is free
    for value in (*single.graph.input, *single.graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(single, strict_mode=True, data_prop=True)


_Shape = tuple[int, ...]


def _values(infos: Iterable[onnx.ValueInfoProto]) -> dict[str, tuple[int, _Shape]]:
    """Element type and shape of all values whose shape is known."""
    known = {}
    for info in infos:
        tensor = info.type.tensor_type
        if all(d.HasField("dim_value") for d in tensor.shape.dim):
            known[info.name] = (tensor.elem_type, tuple(d.dim_value for d in tensor.shape.dim))
    return known


def _arithmetic(node: onnx.NodeProto, shapes: dict[str, _Shape]) -> tuple[int, int]:
    """Multiply-adds and operations on single values."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    outputs = sum(math.prod(shapes[o]) for o in node.output if o)
    if node.op_type == "Conv":
        # (out channels, in channels of a group, rows, columns): what one output value is summed over
        return outputs * math.prod(shapes[node.input[1]][1:]), 0
    if node.op_type in _MATRIX_OPERATORS:
        transposed = node.op_type == "Gemm" and attributes.get("transA", 0)
        return outputs * shapes[node.input[0]][-2 if transposed else -1], 0
    if node.op_type in _MOVING_OPERATORS:
        return 0, 0
    if node.op_type in ("AveragePool", "MaxPool"):
        return 0, outputs * math.prod(attributes["kernel_shape"])
    return 0, outputs * _OPERATIONS_OF_A_VALUE.get(node.op_type, 1)


def _peak(nodes: list[onnx.NodeProto], graph: onnx.GraphProto, sizes: dict[str, int]) -> int:
    last = {i: number for number, node in enumerate(nodes) for i in node.input}
    last |= {output.name: len(nodes) for output in graph.output}
    alive = {i.name for i in graph.input}
    peak = 0
    for number, node in enumerate(nodes):
        alive |= {o for o in node.output if o}
        peak = max(peak, sum(sizes[v] for v in alive))
        alive = {v for v in alive if last.get(v, -1) > number}
    return peak


def _bytes(element: int, shape: Iterable[int]) -> int:
    if element in (TensorProto.INT4, TensorProto.UINT4):  # two in a byte
        return math.ceil(math.prod(shape) / 2)
    size: int = helper.tensor_dtype_to_np_dtype(element).itemsize
    return math.prod(shape) * size


def _numbers(cost: NodeCost) -> tuple[int, ...]:
    return cost.multiply_adds, cost.operations, cost.read, cost.written, cost.weights


_COLUMNS = ("multiply-adds, M", "operations, M", "read, MB", "written, MB", "weights, MB")


def _cells(cost: NodeCost) -> list[str]:
    return [f"{number / 1e6:.1f}" for number in _numbers(cost)]


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
