"""What a graph shows of the precision of its parts, where no network says it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infnet_export.precision.notes import PrecisionNotes, notes_by_rule
from infnet_export.precision.quantised import parts_of


def model(product: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Most weights are in ``net.body``, most of those in its second block; then a product of two maps."""
    nodes = [
        helper.make_node("Conv", ["x", "net.body.0.conv.weight"], ["a"], name="net.body.0.conv/Conv"),
        helper.make_node("Conv", ["a", "net.body.1.conv1.weight"], ["b"], name="net.body.1.conv1/Conv"),
        helper.make_node("Conv", ["b", "net.body.1.conv2.weight"], ["c"], name="net.body.1.conv2/Conv"),
        *product,
        helper.make_node("Conv", ["d", "head.weight"], ["y"], name="head/Conv"),
    ]
    shapes = {
        "net.body.0.conv.weight": (8, 3, 1, 1),
        "net.body.1.conv1.weight": (8, 8, 1, 1),
        "net.body.1.conv2.weight": (8, 8, 1, 1),
        "head.weight": (1, 8, 1, 1),
    }
    weights = [numpy_helper.from_array(np.full(s, 0.1, np.float32), n) for n, s in shapes.items()]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 4, 4])
        for name, channels in (("x", 3), ("y", 1))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


PRODUCT = [helper.make_node("Mul", ["b", "c"], ["d"], name="net.body/Mul")]
GATE = [
    helper.make_node("Sigmoid", ["c"], ["share"], name="net.body/Sigmoid"),
    helper.make_node("Mul", ["b", "share"], ["d"], name="net.body/Mul"),
]


def test_a_large_module_inside_a_large_module_is_divided_too() -> None:
    notes = notes_by_rule(model(GATE))
    assert notes.divided == ("net", "net.body", "net.body.1")
    assert set(parts_of(model(GATE), notes.divided).values()) == {
        "net.body.0",
        "net.body.1.conv1",
        "net.body.1.conv2",
        "logits",
    }
    assert set(parts_of(model(GATE), ("net",)).values()) == {"net.body", "logits"}


def test_a_product_is_kept_and_a_share_of_something_is_not() -> None:
    assert notes_by_rule(model(PRODUCT)).fp32 == ("net",)
    assert notes_by_rule(model(GATE)) == PrecisionNotes(divided=("net", "net.body", "net.body.1"))
