"""The range check in single precision: what it measures and what it refuses."""

import json

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.float16 import to_float16
from infnet_export.precision.half import LARGEST_HALF
from infnet_export.precision.ranges import MARGIN, check_ranges, measure_magnitudes, range_report
from infnet_runtime.errors import GateError

ALL_HALF = KeepFp32(modules=(), output_maps=False)


def model(gain: float) -> onnx.ModelProto:
    """y = relu(gain * x) / gain, with a logarithm beside it that is not a number for negative x."""
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["large"], name="up/Mul"),
        helper.make_node("Relu", ["large"], ["positive"], name="up/Relu"),
        helper.make_node("Div", ["positive", "gain"], ["y"], name="down/Div"),
        helper.make_node("Log", ["x"], ["log"], name="beside/Log"),
    ]
    shapes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 1, 2, 2]) for n in ("x", "y", "log")]
    weights = [numpy_helper.from_array(np.array(gain, np.float32), "gain")]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def slices(*values: float) -> npt.NDArray[np.float32]:
    return np.stack([np.array([[[v, 1], [1, 1]]], np.float32) for v in values])


def test_the_largest_magnitude_over_all_slices() -> None:
    found = measure_magnitudes(model(10), slices(2, 3, 0.5))
    assert found == pytest.approx({"x": 3, "large": 30, "positive": 30, "y": 3, "log": np.log(3)})


def test_the_sign_does_not_matter_and_nan_is_seen() -> None:
    found = measure_magnitudes(model(10), slices(-5))
    assert found["large"] == pytest.approx(50)
    assert found["positive"] == pytest.approx(10)
    assert found["log"] == np.inf


def test_the_model_is_not_changed() -> None:
    one = model(10)
    before = one.SerializeToString()
    measure_magnitudes(one, slices(1))
    assert one.SerializeToString() == before


def test_a_quarter_of_the_end_passes_and_more_is_refused() -> None:
    limit = LARGEST_HALF / MARGIN
    assert check_ranges({"a": limit, "b": 1.0}, ["a", "b"], slices=3).offenders == {}
    with pytest.raises(GateError) as caught:
        check_ranges({"a": 2 * limit, "b": 1.0}, ["a", "b"], slices=3)
    assert (caught.value.code, caught.value.exit_code) == (7032, 7)
    assert str(caught.value) == (
        "[INF-7032] 1 of 2 tensors are too large for half precision on 3 slices: they pass 16376, a quarter "
        "of its end, a by 2 times; keep their modules in FP32"
    )


def test_a_graph_that_grows_too_large_is_refused_by_name() -> None:
    magnitudes = measure_magnitudes(model(1e4), slices(1, 4))
    _, half = to_float16(model(1e4), ALL_HALF)
    with pytest.raises(GateError, match=r"2 of 4 tensors .* large by 2\.44, positive by 2\.44 times"):
        check_ranges(magnitudes, half.half_tensors, slices=2)

    _, half = to_float16(model(1e4), KeepFp32(modules=("up", "down"), operators=(), output_maps=False))
    report = check_ranges(magnitudes, half.half_tensors, slices=2)
    assert set(report.largest) == {"x", "log"}
    assert report.largest_fp32["large"] == pytest.approx(4e4)


def test_a_tensor_that_is_cast_to_half_counts_though_it_is_computed_in_single() -> None:
    _, half = to_float16(model(1e4), KeepFp32(modules=("up",), output_maps=False))
    with pytest.raises(GateError, match="positive by"):
        check_ranges(measure_magnitudes(model(1e4), slices(4)), half.half_tensors, slices=1)


def test_a_report_is_json_even_where_values_are_not_finite() -> None:
    report = range_report({"a": np.inf, "b": 1.0}, ["a", "b"], slices=1)
    plain = json.loads(json.dumps(report.to_plain(), allow_nan=False))
    assert plain["offenders"] == {"a": "not finite"}
    assert plain["limit"] == pytest.approx(16376)


def test_nothing_to_look_at_is_refused() -> None:
    with pytest.raises(GateError, match=r"INF-7030\] no slices to measure the ranges on"):
        measure_magnitudes(model(1), slices(1)[:0])
    with pytest.raises(GateError, match=r"INF-7031\] none of the tensors in half precision was measured"):
        check_ranges({"a": 1.0}, ["b"], slices=1)
