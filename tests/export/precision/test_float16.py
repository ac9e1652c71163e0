"""Conversion to half precision: what is cast, what stays, what is refused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from golden_fill import reference_state
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.graph.plain_weights import plain_weights
from infnet_export.network.inf_net.inference_module import inference_module
from infnet_export.precision.choice import KeepFp32, keep_of
from infnet_export.precision.float16 import to_float16
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNet
from infnet_train.weights.reference import load_reference_weights

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
ALL_HALF = KeepFp32(modules=(), output_maps=False)

# ONNX Runtime computes the converted model in FP32 on the CPU, so that the rounding of the weights is left,
# and that of the tensors at the few casts it keeps. Measured: 5e-5 from the model, 3e-5 from one with the
# same weights.
WEIGHT_ROUNDING = 2e-4


def model_of(
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, npt.NDArray[Any]] | None = None,
    *,
    channels: int = 2,
    out: str = "y",
    opset: int = 18,
    rim: int = FLOAT,
) -> onnx.ModelProto:
    shape_in, shape_out = ["n", channels, 8, 8], ["n", None, None, None]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", rim, shape_in)],
        [helper.make_tensor_value_info(out, rim, shape_out)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def conv(source: str, target: str, name: str, weight: str = "w") -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [target], name=name)


def kernel(*values: float, out: int = 2) -> npt.NDArray[np.float32]:
    numbers = np.full(out * 2, 0.25, np.float32)
    numbers[: len(values)] = values
    return numbers.reshape(out, 2, 1, 1)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = {
        v.name: v.type.tensor_type.elem_type
        for v in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    return values | {t.name: t.data_type for t in model.graph.initializer}


def casts(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Cast"]


def run(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def test_the_rim_keeps_its_types() -> None:
    half, report = to_float16(model_of([conv("x", "y", "a/Conv")], {"w": kernel()}), ALL_HALF)
    found = kinds(half)
    assert (found["x"], found["y"], found["w:fp16"]) == (FLOAT, FLOAT, HALF)
    assert casts(half) == [("x", "x:fp16"), ("y:fp16", "y")]
    assert (report.fp16_nodes, report.fp32_nodes, report.casts, report.weights) == (1, (), 2, 4)
    assert report.half_tensors == ("x", "y")


def test_one_cast_for_all_consumers_right_behind_the_producer() -> None:
    nodes = [
        conv("x", "a", "half/Conv"),
        helper.make_node("Relu", ["a"], ["b"], name="single/Relu"),
        helper.make_node("Sigmoid", ["a"], ["c"], name="single/Sigmoid"),
        helper.make_node("Add", ["b", "c"], ["y"], name="single/Add"),
    ]
    half, _ = to_float16(
        model_of(nodes, {"w": kernel()}), KeepFp32(modules=("single",), operators=(), output_maps=False)
    )
    assert casts(half) == [("x", "x:fp16"), ("a", "a:fp32")]
    assert [n.op_type for n in half.graph.node] == ["Cast", "Conv", "Cast", "Relu", "Sigmoid", "Add"]
    assert [kinds(half)[name] for name in ("a", "b", "c", "y")] == [HALF, FLOAT, FLOAT, FLOAT]


def test_an_output_that_is_also_used_inside() -> None:
    nodes = [
        conv("x", "y", "half/Conv"),
        helper.make_node("Relu", ["y"], ["b"], name="half/Relu"),
        helper.make_node("Exp", ["y"], ["c"], name="half/Exp"),
    ]
    half, _ = to_float16(model_of(nodes, {"w": kernel()}), ALL_HALF)
    assert casts(half) == [("x", "x:fp16"), ("y:fp16", "y")]
    by_type = {n.op_type: n for n in half.graph.node}
    assert by_type["Relu"].input[0] == "y:fp16"
    assert by_type["Exp"].input[0] == "y", "an operator on the list stays FP32 and reads the output itself"


def test_positions_of_a_resize_are_left_alone() -> None:
    weights = {"roi": np.zeros(8, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    node = helper.make_node(
        "Resize",
        ["x", "roi", "scales"],
        ["y"],
        name="up/Resize",
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    )
    half, _ = to_float16(model_of([node], weights), ALL_HALF)
    (resize,) = (n for n in half.graph.node if n.op_type == "Resize")
    assert list(resize.input) == ["x:fp16", "roi", "scales"]
    assert kinds(half)["y:fp16"] == HALF


def test_shapes_are_taken_without_a_cast() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="Shape"),
        helper.make_node(
            "ConstantOfShape",
            ["s"],
            ["z"],
            name="fill",
            value=numpy_helper.from_array(np.ones(1, np.float32)),
        ),
        helper.make_node("Constant", [], ["two"], name="two", value_float=2.0),
        helper.make_node("Mul", ["z", "two"], ["m"], name="mul"),
        helper.make_node("Add", ["x", "m"], ["y"], name="add"),
    ]
    model = model_of(nodes)
    half, report = to_float16(model, ALL_HALF)
    assert casts(half) == [("x", "x:fp16"), ("y:fp16", "y")]
    found = kinds(half)
    assert (found["z"], found["two:fp16"], found["m"]) == (HALF, HALF, HALF)
    assert next(n for n in half.graph.node if n.op_type == "Shape").input[0] == "x"
    x = np.ones((1, 2, 8, 8), np.float32)
    np.testing.assert_array_equal(run(half, x), run(model, x))
    assert report.half_tensors == ("m", "x", "y", "z")


def test_a_cast_to_float_becomes_one_to_half() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], name="down", to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["f"], name="up", to=FLOAT),
        helper.make_node("Relu", ["f"], ["y"], name="relu"),
    ]
    half, _ = to_float16(model_of(nodes), ALL_HALF)
    assert {n.name: n.attribute[0].i for n in half.graph.node if n.op_type == "Cast"} == {
        "down": TensorProto.INT32,
        "up": HALF,
        "y/Cast": FLOAT,
    }


def test_a_range_stays_single() -> None:
    weights = {n: np.array(v, np.float32) for n, v in (("start", 0), ("end", 8), ("step", 1))}
    nodes = [
        helper.make_node("Range", ["start", "end", "step"], ["r"], name="a/Range"),
        helper.make_node("Add", ["x", "r"], ["y"], name="a/Add"),
    ]
    half, report = to_float16(model_of(nodes, weights), ALL_HALF)
    assert ("r", "r:fp16") in casts(half)
    assert report.fp32_nodes == ("a/Range",)


def test_modules_and_maps_of_one_channel_stay_single() -> None:
    nodes = [
        conv("x", "a", "decoder.conv1/Conv"),
        conv("a", "b", "decoders/Conv"),
        conv("b", "y", "head/Conv", "one"),
    ]
    model = model_of(nodes, {"w": kernel(), "one": kernel(out=1)})
    half, report = to_float16(model, KeepFp32(modules=("decoder",)))
    assert report.fp32_nodes == ("decoder.conv1/Conv", "head/Conv")
    assert casts(half) == [("a", "a:fp16"), ("b", "b:fp32")]
    stored = {t.name: t.data_type for t in half.graph.initializer}
    assert stored == {"w:fp16": HALF, "w": FLOAT, "one": FLOAT}, "a weight used in both is stored in both"


def test_weights_stored_as_half_are_taken_back_to_single() -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["w:fp32"], name="w/Cast", to=FLOAT),
        conv("x", "y", "a/Conv", "w:fp32"),
    ]
    model = model_of(nodes, {"w": kernel().astype(np.float16)})
    before = model.SerializeToString()
    plain = plain_weights(model)
    assert [n.op_type for n in plain.graph.node] == ["Conv"]
    assert {t.name: t.data_type for t in plain.graph.initializer} == {"w": FLOAT}
    half, _ = to_float16(model, ALL_HALF)
    assert casts(half) == [("x", "x:fp16"), ("y:fp16", "y")]
    assert model.SerializeToString() == before, "the argument was changed"


def test_lost_weights_are_reported() -> None:
    _, report = to_float16(
        model_of([conv("x", "y", "a/Conv")], {"w": kernel(1e-9, 1e-6, 5e-5, 0.0)}), ALL_HALF
    )
    (loss,) = report.losses
    assert (loss.name, loss.vanished, loss.subnormal) == ("w", 1, 2)


def test_a_weight_that_overflows_is_refused() -> None:
    to_float16(model_of([conv("x", "y", "a/Conv")], {"w": kernel(65504.0)}), ALL_HALF)
    with pytest.raises(GateError) as caught:
        to_float16(model_of([conv("x", "y", "a/Conv")], {"w": kernel(1e5, -2e5)}), ALL_HALF)
    assert (caught.value.code, caught.value.exit_code) == (7001, 7)
    assert str(caught.value) == (
        "[INF-7001] 2 weights are too large for half precision, which ends at 65504: the largest is 200000 "
        "in w; keep its module in FP32"
    )


def test_inner_graphs_are_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["b"])],
        "body",
        [],
        [helper.make_tensor_value_info("b", FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["c"], ["y"], name="a/If", then_branch=body, else_branch=body)]
    with pytest.raises(ModelError) as caught:
        to_float16(model_of(nodes, {"c": np.array(True)}), ALL_HALF)
    assert str(caught.value).startswith("[INF-4120] If 'a/If' has a graph of its own")


def test_a_tensor_of_unknown_type_is_refused() -> None:
    nodes = [
        helper.make_node("Mystery", ["x"], ["m"], name="a/Mystery", domain="elsewhere"),
        helper.make_node("Relu", ["m"], ["y"], name="a/Relu"),
    ]
    model = model_of(nodes)
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(ModelError) as caught:
        to_float16(model, ALL_HALF)
    assert str(caught.value).startswith("[INF-4121] the type of 'm', output of Mystery 'a/Mystery'")


def test_types_that_do_not_fit_are_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "i"], ["y"], name="a/Add")]
    with pytest.raises(ModelError, match=r"INF-4121\] the types of the model's tensors do not fit"):
        to_float16(model_of(nodes, {"i": np.array(1, np.int64)}), ALL_HALF)


def test_an_unknown_module_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError) as caught:
        to_float16(model_of([conv("x", "y", "decoder/Conv")], {"w": kernel()}), KeepFp32(("decodr",)))
    assert str(caught.value) == "[INF-4122] the model has no module 'decodr', did you mean decoder?"


@pytest.fixture(scope="module")
def golden_model(fp32_model: onnx.ModelProto) -> onnx.ModelProto:
    """The weights of the golden file in the exported graph: tracing costs more than the rest of this file."""
    network = InfNet().eval()
    load_reference_weights(network, reference_state(), source="the golden fill")
    exported = inference_module(network)
    weights = {name.removeprefix("network."): value for name, value in exported.state_dict().items()}
    model = onnx.ModelProto()
    model.CopyFrom(fp32_model)
    stored = {t.name: t for t in model.graph.initializer if not t.name.startswith("constant_")}
    assert stored.keys() < weights.keys()
    for name in weights.keys() - stored.keys():  # equal weights are stored once
        assert any(torch.equal(weights[name], weights[other]) for other in stored), name
    for name, tensor in stored.items():
        assert tuple(tensor.dims) == tuple(weights[name].shape), name
        tensor.CopyFrom(numpy_helper.from_array(weights[name].numpy(), name))
    slices = phantom_input(PreprocessSpec(size=96))
    with torch.no_grad():
        np.testing.assert_allclose(run(model, slices), exported(torch.from_numpy(slices)), atol=1e-4)
    return model


def test_inf_net_in_half_precision(golden_model: onnx.ModelProto) -> None:
    half, report = to_float16(with_half_weights(golden_model)[0], keep_of(golden_model))
    assert half.metadata_props == golden_model.metadata_props
    assert all(
        name.startswith("partial_decoder") or "out.conv" in name or not name.startswith(("backbone", "rfb"))
        for name in report.fp32_nodes
    )
    decoder = [n for n in half.graph.node if n.name.startswith("partial_decoder")]
    found = kinds(half)
    assert decoder
    assert {found[name] for n in decoder for name in n.output} == {FLOAT}
    assert {found[n.output[0]] for n in half.graph.node if n.name.startswith("backbone")} == {HALF}
    assert len({o for n in half.graph.node for o in n.output}) == sum(len(n.output) for n in half.graph.node)
    assert report.weights > 0.98 * 31e6

    x = phantom_input(PreprocessSpec(size=96))
    rounded = onnx.ModelProto()
    rounded.CopyFrom(golden_model)
    halves = {t.name.removesuffix(":fp16"): t for t in half.graph.initializer if t.data_type == HALF}
    for tensor in rounded.graph.initializer:
        if tensor.name in halves:
            single = numpy_helper.to_array(halves[tensor.name]).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(single, tensor.name))
    probability, exact, same = run(half, x), run(golden_model, x), run(rounded, x)
    assert 0 < np.abs(probability - exact).max() < WEIGHT_ROUNDING
    assert np.abs(probability - same).max() < WEIGHT_ROUNDING
