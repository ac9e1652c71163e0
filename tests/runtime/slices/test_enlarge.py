"""Enlarging of coarse logits: as ONNX does it, and of the needed part as of all of it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.slices import enlarge
from infnet_runtime.slices.enlarge import enlarged, infected_from_logits
from infnet_runtime.slices.preprocess import from_network

# Of probabilities against ONNX Runtime, whose sums go in another order; 2.4e-7 was seen.
ROUNDING = 1e-6


def simple(
    logits: FloatArray, factor: int, rows: int, columns: int, *, threshold: float, temperature: float = 1.0
) -> BoolArray:
    """Everything enlarged, everything compared: what the shortcut must be equal to."""
    own = enlarged(logits, factor)
    return np.asarray(from_network(own, rows, columns, temperature=temperature) >= threshold)


def onnx_map(logits: FloatArray, factor: int) -> FloatArray:
    """The same by the operators of ONNX that a graph has."""
    n, h, w = logits.shape
    scales = numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), "scales")
    nodes = [
        helper.make_node(
            "Resize",
            ["x", "", "scales"],
            ["large"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Sigmoid", ["large"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "enlarge",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [n, 1, h, w])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [n, 1, factor * h, factor * w])],
        [scales],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": logits[:, None]})[0][:, 0], np.float32)


def bumps(seed: int, h: int, w: int, count: int, height: float) -> FloatArray:
    """Slices below 0 with some hills, the last of them without."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-12, 3, (4, h, w))
    row, column = np.mgrid[:h, :w]
    for k in range(3):
        for _ in range(count):
            centre, size = rng.random(2) * (h, w), rng.uniform(0.5, 4)
            away = np.hypot(row - centre[0], column - centre[1])
            logits[k] += height * np.exp(-((away / size) ** 2))
    return logits.astype(np.float32)


@pytest.mark.parametrize(
    ("h", "w", "factor"), [(44, 44, 8), (24, 24, 8), (5, 7, 8), (1, 1, 8), (1, 6, 4), (3, 2, 2), (9, 4, 3)]
)
def test_enlarging_is_that_of_onnx(h: int, w: int, factor: int) -> None:
    logits = np.random.default_rng(0).normal(0, 6, (3, h, w)).astype(np.float32)
    found = enlarged(logits, factor)
    assert found.shape == (3, factor * h, factor * w)
    np.testing.assert_allclose(found, onnx_map(logits, factor), rtol=0, atol=ROUNDING)


def test_logits_are_not_changed_and_far_ones_give_0_and_1() -> None:
    logits = np.array([[[-3e38, -200.0], [200.0, 3e38]]], np.float32)
    before = logits.copy()
    assert enlarged(logits, 2)[0, [0, -1], [0, -1]].tolist() == [0.0, 1.0]
    assert np.array_equal(logits, before)


@pytest.mark.parametrize("shape", [(300, 380), (352, 352), (97, 33), (630, 610)])
@pytest.mark.parametrize("count", [2, 40])
def test_the_needed_part_is_all_of_it_to_the_bit(shape: tuple[int, int], count: int) -> None:
    logits = bumps(count, 44, 44, count, 22.0)
    own = enlarged(logits, 8)
    for threshold, temperature in ((0.5, 1.7), (0.3, 1.7), (0.9, 0.6), (0.02, 3.0)):
        found = infected_from_logits(logits, 8, *shape, threshold=threshold, temperature=temperature)
        assert found[:3].any(), "nothing was compared"
        assert np.array_equal(found, from_network(own, *shape, temperature=temperature) >= threshold)


@pytest.mark.parametrize(("h", "w", "factor"), [(2, 2, 2), (5, 9, 3), (11, 11, 32), (44, 44, 8)])
def test_around_the_threshold_to_the_bit(h: int, w: int, factor: int) -> None:
    """Whole slices whose logits are the threshold's own, give or take a rounding."""
    rng = np.random.default_rng(1)
    for threshold in (0.5, 0.3):
        level = np.log(threshold / (1 - threshold))
        logits = (level + rng.normal(0, 3e-7, (3, h, w))).astype(np.float32)
        found = infected_from_logits(logits, factor, 70, 50, threshold=threshold)
        assert np.array_equal(found, simple(logits, factor, 70, 50, threshold=threshold))
        assert 0 < np.count_nonzero(found) < found.size


def test_one_corner_reaches_the_rim() -> None:
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        logits = np.full((1, 12, 12), -9, np.float32)
        logits[0, corner[0], corner[1]] = 9
        found = infected_from_logits(logits, 8, 200, 131, threshold=0.5)
        assert found[0, corner[0], corner[1]]
        assert np.array_equal(found, simple(logits, 8, 200, 131, threshold=0.5))


def test_slices_that_stay_below_are_not_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    enlarged_slices = []

    def noted(*given: object) -> None:
        enlarged_slices.append(given)
        return resize_bands(*given)  # type: ignore[arg-type]

    resize_bands = enlarge.resize_bands
    monkeypatch.setattr(enlarge, "resize_bands", noted)
    logits = np.full((5, 44, 44), -0.1, np.float32)
    assert not infected_from_logits(logits, 8, 400, 400, threshold=0.5).any()
    assert enlarged_slices == []
    logits[2, 20, 20] = 0.1
    assert infected_from_logits(logits, 8, 400, 400, threshold=0.5)[2].any()
    assert len(enlarged_slices) == 2, "once up and once back"


def test_a_small_lesion_needs_few_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def noted(image: FloatArray, half: FloatArray, result: FloatArray, rows: list, columns: list) -> None:
        counts.append(len(rows) + len(columns))
        resize_bands(image, half, result, rows, columns)

    resize_bands = enlarge.resize_bands
    monkeypatch.setattr(enlarge, "resize_bands", noted)
    logits = np.full((1, 44, 44), -9, np.float32)
    infected_from_logits(logits + 18, 8, 352, 352, threshold=0.5)
    logits[0, 30, 12] = 9
    infected_from_logits(logits, 8, 352, 352, threshold=0.5)
    assert max(counts[2:]) * 3 < min(counts[:2])


def test_a_threshold_below_what_a_temperature_cuts_is_reached_by_all() -> None:
    logits = np.full((1, 4, 4), -40, np.float32)
    settings = {"threshold": 1e-6, "temperature": 2.0}
    found = infected_from_logits(logits, 8, 20, 20, **settings)
    assert np.array_equal(found, simple(logits, 8, 20, 20, **settings))
    assert found.all()
