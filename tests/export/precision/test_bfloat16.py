"""bfloat16 imitated: what is rounded, that it stays rounded, and what is left alone."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import model_bytes, with_metadata
from infnet_export.graph.raw_session import raw_session
from infnet_export.precision.bfloat16 import emulated_bf16, rounded_to_bf16
from infnet_export.proof.exact_session import ExactSession
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, Record, subject_of
from infnet_runtime.model.recognise import recognised
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.realistic_chest import realistic_chest
from infnet_runtime.segment.segmenter import Segmenter

MODELS = Path(__file__).parents[3] / "models"
# Between masks of the imitation and of the processor's units, which round less often. Each is as near to the
# masks in single precision: .990 to .999 on real scans.
SMALLEST_DICE = 0.98


def numbers() -> np.ndarray:
    """Of all sizes, among them some halfway between two that bfloat16 has, and the ends."""
    random = np.random.default_rng(0)
    wide = random.standard_normal(10_000) * np.exp2(random.integers(-140, 120, 10_000))
    halfway = (random.integers(-(2**9), 2**9, 1000) / 2**8).astype(np.float32)
    return np.concatenate([wide, halfway, [0, -0.0, 1e-45, 3.38e38, np.inf, -np.inf]]).astype(np.float32)


def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], output: str) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "layers",
        [value("slices", "n", 2, 5, 5)],
        [value(output, "n", 2, 5, 5)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    (found,) = raw_session(model, threads=1).run(None, {"slices": batch})
    return np.asarray(found)


def batch() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 2, 5, 5), np.float32)


def test_rounding_is_that_of_the_cast_and_is_not_optimised_away() -> None:
    x = numbers()
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT),
    ]
    made = helper.make_graph(nodes, "pair", [value("x", "n")], [value("y", "n")])
    pair = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (found,) = raw_session(pair, threads=1).run(None, {"x": x})
    assert np.array_equal(found, rounded_to_bf16(x))
    assert (found != x).mean() > 0.8


def test_input_weights_and_results_are_rounded_and_the_output_is_not() -> None:
    """One product a pixel, so that the order of no sum matters."""
    scale, shift = np.float32(1.2345678), np.float32(0.011)
    nodes = [
        helper.make_node("Mul", ["slices", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
        helper.make_node("Sigmoid", ["shifted"], ["probability"]),
    ]
    model = graph(nodes, {"scale": scale, "shift": shift}, "probability")
    found = run(emulated_bf16(model), batch())
    short = rounded_to_bf16
    shifted = short(short(short(batch()) * short(scale)) + short(shift))
    expected = 1 / (1 + np.exp(-shifted.astype(np.float64)))
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(found - short(found)).max() > 1e-4, "the output is in single precision"
    assert np.abs(found - run(model, batch())).max() > 1e-3, "nothing was rounded"


def test_products_are_added_in_single_precision() -> None:
    weights = np.zeros((2, 2, 1, 1), np.float32)
    weights[0], weights[1] = 1, [[[256]], [[1]]]
    model = graph([helper.make_node("Conv", ["slices", "weights"], ["sum"])], {"weights": weights}, "sum")
    ones = np.ones((1, 2, 5, 5), np.float32)
    # 257 is no number of bfloat16; as an output it is not rounded, and the sum that gives it neither.
    assert np.unique(run(emulated_bf16(model), ones)).tolist() == [2, 257]


def quantised_and_float() -> onnx.ModelProto:
    """A quantised layer, then a float one on what it gives."""
    weights = {
        "step": np.array(0.1, np.float32),
        "zero": np.array(128, np.uint8),
        "small": np.full((2, 2, 1, 1), 3, np.int8),
        "small_step": np.array(0.3, np.float32),
        "small_zero": np.array(0, np.int8),
        "half": np.array(0.501, np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["slices", "step", "zero"], ["q0"]),
        helper.make_node("DequantizeLinear", ["q0", "step", "zero"], ["d0"]),
        helper.make_node("DequantizeLinear", ["small", "small_step", "small_zero"], ["w"]),
        helper.make_node("Conv", ["d0", "w"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "step", "zero"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "step", "zero"], ["d1"]),
        helper.make_node("Mul", ["d1", "half"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["p"]),
    ]
    return graph(nodes, weights, "p")


def test_quantised_layers_stay_as_they_are() -> None:
    made = emulated_bf16(quantised_and_float())
    read = {node.op_type: list(node.input) for node in made.graph.node}
    assert read["Conv"] == ["d0", "w"]
    assert read["Mul"] == ["d1:bf16", "half:bf16"]
    assert read["Sigmoid"] == ["m:bf16"]
    assert [list(n.input) for n in made.graph.node if n.op_type == "QuantizeLinear"] == [
        ["slices", "step", "zero"],
        ["c", "step", "zero"],
    ]
    assert sum(node.op_type == "Cast" for node in made.graph.node) == 4


def test_a_float_layer_is_rounded_before_its_result_is_quantised() -> None:
    model = quantised_and_float()
    model.graph.node[0].input[0] = "scaled"
    model.graph.node.insert(0, helper.make_node("Mul", ["slices", "half"], ["scaled"]))
    made = emulated_bf16(model)
    (first, _) = (node for node in made.graph.node if node.op_type == "QuantizeLinear")
    assert first.input[0] == "scaled:bf16"


def test_the_model_given_stays_as_it_is() -> None:
    model = quantised_and_float()
    before = model.SerializeToString()
    emulated_bf16(model)
    assert model.SerializeToString() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["infnet.onnx", "infnet.int8.onnx"])
def test_real_bf16_gives_the_masks_of_the_imitation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that has it; elsewhere the gate relies on the imitation alone."""
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    from infnet_runtime.backends.openvino import OpenVinoSession, can_bf16, load_openvino

    if not can_bf16(load_openvino().Core()):
        pytest.skip("this processor has no units for bf16: imitated and real masks are not compared")
    content = (MODELS / name).read_bytes()
    figures = Judgement(
        scans=1,
        smallest_dice=1.0,
        largest_ml=0.0,
        largest_percent=0.0,
        infection_ml=1.0,
        reference_sha256="",
        method="none: for this test",
    )
    subject = subject_of(content, recognised(content, Path(name)).manifest)
    record = Record(subject_sha256=subject, passed={"bf16": figures}).to_json()
    phantom = realistic_chest()
    scan = CtVolume(phantom.hu[:, :, ::3], phantom.affine * [1, 1, 3, 1], Intensity.HU, "phantom")
    emulated = model_bytes(emulated_bf16(onnx.load_model_from_string(content)))
    masks = []
    for session in (
        ExactSession(emulated, name, precision="bf16"),
        OpenVinoSession(
            Path(name), threads=1, content=with_metadata(content, JUDGED_KEY, record), precision="bf16"
        ),
        ExactSession(content, name, precision="float32"),
    ):
        with Segmenter(session, threads=1) as segmenter:
            masks.append(segmenter.predict(scan).mask > 0)
    imitated, real, single = masks
    assert single.sum() > 100
    assert 2 * (imitated & real).sum() / (imitated.sum() + real.sum()) >= SMALLEST_DICE
    assert 2 * (single & real).sum() / (single.sum() + real.sum()) >= SMALLEST_DICE
