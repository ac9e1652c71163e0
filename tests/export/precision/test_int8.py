"""Quantisation to 8 bits: what is quantised, what stays, what it costs."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_export.precision.int8 import Int8Report, PartCost, to_int8
from infnet_export.precision.quantised import (
    FEWEST_SLICES,
    ActivationType,
    Int8Options,
    Ranged,
    RangeMethod,
    measure_ranges,
    parts_of,
    quantise,
)
from infnet_runtime.errors import InputError

SIZE = 16
CHANNELS = 8


def tiny_network() -> onnx.ModelProto:
    """Two modules and a head; the scales of the first kernel differ by 1000 between channels."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)) * np.logspace(-3, 0, CHANNELS)[:, None, None, None]
    weights = {
        "first": first,
        "second": rng.normal(0, 0.3, (CHANNELS, CHANNELS, 1, 1)),
        "head": rng.normal(0, 0.3, (1, CHANNELS, 1, 1)),
        "bias": rng.normal(0, 0.1, CHANNELS),
    }
    nodes = [
        helper.make_node(
            "Conv", ["slices", "first", "bias"], ["a"], name="backbone.stem.0/Conv", pads=[1] * 4
        ),
        helper.make_node("Relu", ["a"], ["b"], name="backbone.stem.1/Relu"),
        helper.make_node("Conv", ["b", "second", "bias"], ["c"], name="rfb2.branch0/Conv"),
        helper.make_node("Relu", ["c"], ["d"], name="rfb2/Relu"),
        helper.make_node("Conv", ["d", "head"], ["logit"], name="decoder.out/Conv"),
        helper.make_node("Sigmoid", ["logit"], ["probability"], name="Sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"infnet.manifest": "the manifest"})
    return model


def some_slices(count: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def ranged() -> Ranged:
    return measure_ranges(tiny_network(), some_slices(FEWEST_SLICES, 1))


def weight_scales(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of the scale of every weight that is stored in 8 bits."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {
        n.input[0]: arrays[n.input[1]].shape
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in arrays and arrays[n.input[0]].dtype == np.int8
    }


def test_everything_is_quantised_with_a_scale_for_each_channel(ranged: Ranged) -> None:
    model = quantise(ranged)
    assert weight_scales(model) == {
        "first_quantized": (CHANNELS,),
        "second_quantized": (CHANNELS,),
        "head_quantized": (1,),
    }
    assert sum(n.op_type == "QuantizeLinear" for n in model.graph.node) >= 4
    assert [(p.key, p.value) for p in model.metadata_props] == [("infnet.manifest", "the manifest")]
    zero_points = {t.data_type for t in model.graph.initializer if t.name.endswith("_zero_point")}
    assert TensorProto.UINT8 in zero_points


def test_parts_that_are_left_out_stay_float(ranged: Ranged) -> None:
    model = quantise(ranged, ("rfb2", "logits"))
    assert set(weight_scales(model)) == {"first_quantized"}
    stored = {t.name: t.data_type for t in model.graph.initializer}
    assert stored["second"] == stored["head"] == TensorProto.FLOAT


def test_calibrating_does_not_change_the_model() -> None:
    model = tiny_network()
    before = model.SerializeToString()
    quantise(measure_ranges(model, some_slices(FEWEST_SLICES, 1)))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("method", RangeMethod)
def test_the_methods_say_nothing_on_stdout(method: RangeMethod, capfd: pytest.CaptureFixture[str]) -> None:
    made = measure_ranges(tiny_network(), some_slices(FEWEST_SLICES, 1), Int8Options(method=method))
    assert weight_scales(quantise(made))
    assert capfd.readouterr().out == ""


def test_signed_activations_are_symmetric() -> None:
    options = Int8Options(activations=ActivationType.INT8)
    model = quantise(measure_ranges(tiny_network(), some_slices(FEWEST_SLICES, 1), options))
    zero_points = [
        numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("_zero_point")
    ]
    assert zero_points
    assert all(not z.any() for z in zero_points)
    assert not any(z.dtype == np.uint8 for z in zero_points)


def test_what_is_measured_is_what_is_made() -> None:
    calibration, held_out = some_slices(FEWEST_SLICES, 1), some_slices(4, 2)
    calls: list[tuple[int, int]] = []
    model, report = to_int8(
        tiny_network(),
        calibration,
        held_out,
        largest_loss=1e-9,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert {c.part for c in report.costs} == {"backbone.stem.0", "rfb2", "logits"}
    assert [c.cost for c in report.costs] == sorted((c.cost for c in report.costs), reverse=True)
    assert sum(c.share for c in report.costs) == pytest.approx(1)
    dear = {c.part: c.cost / max(c.share, 0.005) for c in report.costs}
    assert [dear[part] for part in report.float_parts] == sorted(
        map(dear.get, report.float_parts), reverse=True
    )
    assert len(report.steps) == len(report.float_parts)
    assert report.loss == report.steps[-1] < report.loss_all
    assert all(c.cost > 0 for c in report.costs if c.part in report.float_parts)
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert {part for part in weight_parts(model)} == {c.part for c in report.costs} - set(report.float_parts)


def test_parts_go_to_float_while_the_area_moves() -> None:
    slices = some_slices(FEWEST_SLICES, 1), some_slices(4, 2)
    _, lax = to_int8(tiny_network(), *slices, largest_loss=0.5, largest_shift=1.0)
    _, strict = to_int8(tiny_network(), *slices, largest_loss=0.5, largest_shift=0.0)
    assert lax.shift > 0
    assert lax.float_parts == ()
    assert strict.float_parts
    assert strict.shift < lax.shift


def weight_parts(model: onnx.ModelProto) -> set[str]:
    homes = {"first": "backbone.stem.0", "second": "rfb2", "head": "logits"}
    return {homes[name.removesuffix("_quantized")] for name in weight_scales(model)}


def test_nothing_goes_to_float_where_the_loss_is_small_enough() -> None:
    model, report = to_int8(
        tiny_network(), some_slices(FEWEST_SLICES, 1), some_slices(2, 2), largest_loss=0.5, largest_shift=1.0
    )
    assert (report.float_parts, report.steps, report.loss) == ((), (), report.loss_all)
    assert len(weight_scales(model)) == 3


def test_parts_follow_modules_and_logits_their_channel(ranged: Ranged) -> None:
    assert parts_of(ranged.model, ["backbone"]) == {
        "backbone.stem.0/Conv": "backbone.stem",
        "backbone.stem.1/Relu": "backbone.stem",
        "rfb2.branch0/Conv": "rfb2",
        "rfb2/Relu": "rfb2",
        "decoder.out/Conv": "logits",
        "Sigmoid": "logits",
    }


def test_too_few_slices_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        measure_ranges(tiny_network(), some_slices(FEWEST_SLICES - 1, 1))
    assert str(caught.value) == (
        "[INF-3121] 7 slices to calibrate on, expected at least 8 that show what the model will see; give "
        "more training slices"
    )
    with pytest.raises(InputError, match=r"INF-3121\] no held-out slices"):
        to_int8(tiny_network(), some_slices(FEWEST_SLICES, 1), some_slices(0, 2))


def test_slices_that_serve_twice_are_refused() -> None:
    slices = some_slices(FEWEST_SLICES, 1)
    with pytest.raises(InputError, match=r"INF-3122\] 2 of 3 held-out slices are calibration slices too"):
        to_int8(tiny_network(), slices, np.concatenate([slices[:2], some_slices(1, 3)]))


def test_the_table_names_every_part_and_where_it_is_kept() -> None:
    costs = (PartCost("logits", 0.01, 0.001, 0.004), PartCost("rfb2", 0.2, 0.0049, 1e-4))
    report = Int8Report(Int8Options(), 8, 2, 0.005, costs, ("logits",), (0.001,), 0.001, 0.0)
    assert report.to_table().splitlines() == [
        "| part | multiplications | cost | kept in |",
        "| --- | --- | --- | --- |",
        "| logits | 1.0% | +4.0e-03 | float |",
        "| rfb2 | 20.0% | +1.0e-04 | 8 bit |",
    ]
