"""Coarse logits as another output: where the graph ends with their enlargement, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from infnet_export.graph.coarse_logits import coarse_in, with_coarse_logits, without_coarse_logits
from infnet_export.graph.hu_entry import with_hu_entry
from infnet_export.graph.inspection import inspect_file
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.float16 import to_float16
from infnet_runtime.model.coarse_logits import COARSE_KEY
from infnet_runtime.model.recognise import recognised
from tiny_models import COARSE, coarse_detector, mid_grey_detector


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(coarse_detector(tmp_path_factory.mktemp("m") / "m.onnx", coarse=False))


def test_it_is_added_beside_everything_else(plain: onnx.ModelProto, tmp_path: Path) -> None:
    before = model_bytes(plain)
    extended = with_coarse_logits(plain)
    assert model_bytes(plain) == before
    assert model_bytes(extended) == coarse_detector(tmp_path / "by_hand.onnx").read_bytes()
    assert coarse_in(extended) == COARSE
    assert list(extended.graph.node)[:-1] == list(plain.graph.node)
    assert extended.graph.initializer == plain.graph.initializer
    assert list(extended.graph.output)[:-1] == list(plain.graph.output)
    path = tmp_path / "m.onnx"
    assert recognised(model_bytes(extended), path).coarse == COARSE
    assert with_coarse_logits(extended) is extended


def test_taken_away_again_the_file_is_the_one_before(plain: onnx.ModelProto) -> None:
    assert without_coarse_logits(plain) is plain
    assert coarse_in(plain) is None
    assert model_bytes(without_coarse_logits(with_coarse_logits(plain))) == model_bytes(plain)


def _attribute(name: str, value: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        resize = next(n for n in model.graph.node if n.op_type == "Resize")
        kept = [a for a in resize.attribute if a.name != name]
        del resize.attribute[:]
        resize.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def _scales(*values: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        scales = next(t for t in model.graph.initializer if t.name == "scales")
        scales.CopyFrom(numpy_helper.from_array(np.array(values, np.float32), "scales"))

    return change


def _something_between(model: onnx.ModelProto) -> None:
    sigmoid = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    place = list(model.graph.node).index(sigmoid)
    model.graph.node.insert(place, helper.make_node("Neg", [sigmoid.input[0]], ["turned"]))
    sigmoid.input[0] = "turned"


@pytest.mark.parametrize(
    "change",
    [
        _attribute("mode", "cubic"),
        _attribute("coordinate_transformation_mode", "align_corners"),
        _attribute("antialias", 1),
        _attribute("exclude_outside", 1),
        _scales(1, 1, 8, 4),
        _scales(1, 1, 7.5, 7.5),
        _scales(1, 1, 1, 1),
        _something_between,
    ],
)
def test_another_end_is_left_alone(plain: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(plain)
    change(other)
    assert with_coarse_logits(other) is other


def test_a_graph_that_enlarges_nothing_is_left_alone(tmp_path: Path) -> None:
    model = onnx.load(mid_grey_detector(tmp_path / "m.onnx"))
    assert with_coarse_logits(model) is model


def test_logits_in_half_precision_are_left_alone(plain: onnx.ModelProto) -> None:
    half, report = to_float16(plain, KeepFp32(output_maps=False))
    assert report.fp16_nodes
    assert with_coarse_logits(half) is half
    single, _ = to_float16(plain, KeepFp32())
    assert coarse_in(with_coarse_logits(single)) == COARSE


def test_an_entry_for_hu_has_none(plain: onnx.ModelProto) -> None:
    extended = with_coarse_logits(plain)
    whole = with_hu_entry(extended, 90, 100)
    assert [o.name for o in whole.graph.output] == ["infection_probability"]
    assert COARSE_KEY not in {p.key for p in whole.metadata_props}
    assert model_bytes(whole) == model_bytes(with_hu_entry(plain, 90, 100))


def test_it_is_told(plain: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_bytes(with_coarse_logits(plain)))
    found = inspect_file(path)
    told = "coarse     'coarse_logits', enlarged 8 times (linear, half_pixel), then sigmoid, is 'infection"
    assert told in found.to_text()
    assert found.to_dict()["coarse"]["factor"] == 8
    path.write_bytes(model_bytes(plain))
    assert "coarse" not in inspect_file(path).to_text()
