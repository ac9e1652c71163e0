"""Costs by arithmetic on small graphs, and those of the network before and after its rewrites."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.cost import Comparison, GraphCost, NodeCost, graph_cost
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.network.tracing import plain_model
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import SideOutputs
from infnet_train.weights.trained import TrainedNetwork

MULTIPLY_ADDS = 13_843_298_304
"""Of all convolutions at 352 x 352, all five outputs; also what FlopCounterMode of PyTorch gives, halved."""
SIZE = 352


def small_model() -> onnx.ModelProto:
    """Convolution with stride, activation, pool, resize and a matrix product, all sizes easy to count."""
    weights = {
        "kernel": np.zeros((4, 3, 3, 3), np.float32),
        "bias": np.zeros(4, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "matrix": np.zeros((8, 5), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], "conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], "resize", mode="linear"),
        helper.make_node("Concat", ["b", "d"], ["e"], "concat", axis=3),
        helper.make_node("MatMul", ["e", "matrix"], ["y"], "product"),
    ]
    values = {"x": ["n", 3, 8, 8], "y": ["n", 4, 4, 5]}
    x, y = (helper.make_tensor_value_info(v, TensorProto.FLOAT, shape) for v, shape in values.items())
    graph = helper.make_graph(
        nodes, "g", [x], [y], [numpy_helper.from_array(a, n) for n, a in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_costs_by_arithmetic() -> None:
    costs = {name: cost for name, _, cost in graph_cost(small_model()).nodes}
    image = 4 * 4 * 4  # channels, rows, columns behind the convolution
    assert costs == {
        "conv": NodeCost(image * 27, 0, 4 * 3 * 64, 4 * image, 4 * (108 + 4)),
        "relu": NodeCost(0, image, 4 * image, 4 * image, 0),
        "pool": NodeCost(0, 16 * 4, 4 * image, 4 * 16, 0),
        "resize": NodeCost(0, 4 * image, 4 * 16, 4 * image, 4 * 4),
        "concat": NodeCost(0, 0, 8 * image, 8 * image, 0),
        "product": NodeCost(4 * 4 * 5 * 8, 0, 8 * image, 4 * 80, 4 * 40),
    }


def test_sums_peak_and_tables() -> None:
    cost = graph_cost(small_model())
    assert cost.total.multiply_adds == 64 * 27 + 640
    # The input (768) and the convolution (256); the largest behind it are b, d and e with 256, 256 and 512.
    assert cost.peak == 1024
    assert cost.by_operator()["Conv"] == (1, cost.nodes[0][2])
    assert cost.to_dict()["total"]["multiply_adds"] == 2368
    lines = cost.to_markdown().splitlines()
    assert lines[0].startswith("| operator | nodes | multiply-adds, M | operations, M | read, MB")
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| **all** | 6 |")


def test_weights_are_counted_once_and_as_stored(fp32_model: onnx.ModelProto) -> None:
    full, half = graph_cost(fp32_model), graph_cost(with_half_weights(fp32_model)[0])
    stored = sum(numpy_helper.to_array(t).nbytes for t in fp32_model.graph.initializer)
    assert full.total.weights == stored
    assert half.total.weights < 0.55 * full.total.weights
    assert len(half.nodes) == len(full.nodes), "a cast of a weight is done at load"
    assert half.total.multiply_adds == full.total.multiply_adds


def test_an_unknown_shape_is_told() -> None:
    model = small_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    with pytest.raises(ValueError, match="the shape of x cannot be told from the model"):
        graph_cost(model)


@pytest.fixture(scope="module")
def plain(trained: TrainedNetwork) -> onnx.ModelProto:
    return plain_model(trained.network, trained.preprocess.size, SideOutputs._fields)


def at_size(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The same nodes on larger slices: nothing in them but the input says how large one is."""
    larger = onnx.ModelProto()
    larger.CopyFrom(model)
    for value in (*larger.graph.input, *larger.graph.output):
        for dimension in value.type.tensor_type.shape.dim[2:]:
            dimension.dim_value = size
    return larger


@pytest.fixture(scope="module")
def costs(plain: onnx.ModelProto, fp32_model: onnx.ModelProto) -> tuple[GraphCost, GraphCost]:
    return graph_cost(at_size(plain, SIZE)), graph_cost(at_size(fp32_model, SIZE))


@pytest.mark.slow
def test_the_plain_network_has_the_known_multiply_adds(costs: tuple[GraphCost, GraphCost]) -> None:
    before, _ = costs
    assert before.total.multiply_adds == MULTIPLY_ADDS
    counts = {operator: n for operator, (n, _) in before.by_operator().items()}
    assert (counts["Conv"], counts["BatchNormalization"], counts["Resize"]) == (158, 157, 15)
    assert before.by_operator()["BatchNormalization"][1].operations == 2 * 37_102_109


@pytest.mark.slow
def test_the_rewritten_graph_costs_less(costs: tuple[GraphCost, GraphCost]) -> None:
    comparison = Comparison(*costs)
    before, after = costs
    # Two 3 x 3 convolutions of the decoder, 96 to 96 channels, and its last are one of 6 x 6 with stride 4.
    decoder = 2 * 44**2 * 96 * 96 * 9 + 44**2 * 96 - 11**2 * 96 * 36
    # The third convolution of the edge branch is 4 x 4 at 44 and 22 and 6 x 6 at 11 pixels; its map is gone.
    edge = 64 * 64 * (88**2 * 9 - 44**2 * 16 - 22**2 * 16 - 11**2 * 36) + 88**2 * 64 * 9
    assert before.total.multiply_adds - after.total.multiply_adds == decoder + edge
    ratios = comparison.ratios()
    assert ratios["nodes"] < 0.67
    assert ratios["operations on values"] < 0.41
    assert ratios["activations read, bytes"] < 0.69
    assert ratios["activations written, bytes"] < 0.68
    text = comparison.to_markdown()
    assert "| multiply-adds | 13,843,298,304 | 13,408,875,392 | 0.969 |" in text
    assert "| BatchNormalization | 157 | 0 |" in text
    assert comparison.to_dict()["ratio"] == ratios


@pytest.mark.slow
def test_no_operator_for_shapes_is_left(costs: tuple[GraphCost, GraphCost]) -> None:
    for cost in costs:
        assert not {"Expand", "Where", "Shape", "Cast", "Gather", "Reshape"} & set(cost.by_operator())


@pytest.mark.slow
def test_the_plain_graph_is_the_network(trained: TrainedNetwork, plain: onnx.ModelProto) -> None:
    slices = phantom_input(trained.preprocess)[:2]
    session = onnxruntime.InferenceSession(model_bytes(plain), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["global_map", "s5", "s4", "s3", "edge"]
    with torch.no_grad():
        expected = trained.network(torch.from_numpy(slices))
    for found, output in zip(session.run(None, {"slices": slices}), expected, strict=True):
        np.testing.assert_allclose(found, output.numpy(), atol=1e-3 * float(output.abs().max()))
