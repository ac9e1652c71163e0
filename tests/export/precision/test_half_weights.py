"""Storing kernels in half precision."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import check_model, model_bytes
from infnet_export.precision.half_weights import SMALL_KERNEL, with_half_weights
from infnet_runtime.errors import GateError

CHANNELS = 256


def model_with(kernel: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """Two convolutions with one kernel, and a small one."""
    small = np.ones((4, CHANNELS, 1, 1), np.float32)
    bias = np.full(CHANNELS, 1 / 3, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "big", "bias"], ["y"], name="first"),
        helper.make_node("Conv", ["y", "big"], ["z"], name="second"),
        helper.make_node("Conv", ["z", "small"], ["w"], name="third"),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c, 1, 1])
        for name, c in (("x", CHANNELS), ("w", 4))
    ]
    weights = [numpy_helper.from_array(a, n) for a, n in ((kernel, "big"), (bias, "bias"), (small, "small"))]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def kernel(*first: float) -> npt.NDArray[np.float32]:
    values = np.full(CHANNELS * CHANNELS, 0.1 / CHANNELS, np.float32)
    values[: len(first)] = first
    return values.reshape(CHANNELS, CHANNELS, 1, 1)


def test_large_kernels_only() -> None:
    assert CHANNELS * CHANNELS >= SMALL_KERNEL > 4 * CHANNELS
    model = model_with(kernel())
    half, report = with_half_weights(model)
    check_model(half)
    types = {t.name: t.data_type for t in half.graph.initializer}
    assert types == {"big": TensorProto.FLOAT16, "bias": TensorProto.FLOAT, "small": TensorProto.FLOAT}
    assert [n.op_type for n in half.graph.node] == ["Cast", "Conv", "Conv", "Conv"]
    assert {t.data_type for t in model.graph.initializer} == {TensorProto.FLOAT}, "the argument was changed"
    assert report.weights == CHANNELS * CHANNELS


def test_arithmetic_is_that_of_the_rounded_weights() -> None:
    weights = kernel(0.3, -0.7)
    rounded = weights.astype(np.float16).astype(np.float32)
    x = np.random.default_rng(0).random((2, CHANNELS, 1, 1), np.float32)
    found, expected = (
        onnxruntime.InferenceSession(model_bytes(m), providers=["CPUExecutionProvider"]).run(None, {"x": x})[
            0
        ]
        for m in (with_half_weights(model_with(weights))[0], model_with(rounded))
    )
    np.testing.assert_array_equal(found, expected)


def test_report_counts_what_vanishes_and_what_is_subnormal() -> None:
    _, report = with_half_weights(model_with(kernel(1e-9, -1e-8, 1e-6, 5e-5, 0.0, -3.0)))
    assert (report.vanished, report.subnormal) == (2, 2)
    assert report.largest == pytest.approx(3.0)


def test_overflow_is_refused() -> None:
    with_half_weights(model_with(kernel(65504.0)))
    with pytest.raises(GateError) as caught:
        with_half_weights(model_with(kernel(1e5, -2e5)))
    assert (caught.value.code, caught.value.exit_code) == (7001, 7)
    assert str(caught.value) == (
        "[INF-7001] 2 weights are too large for half precision, which ends at 65504: the largest is 200000 "
        "in big; export with --weights fp32"
    )
