"""The record of precisions that passed: found, missing, damaged, or somebody else's."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from infnet_runtime.errors import ModelError
from infnet_runtime.model.facts import read_facts, read_metadata
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, judgement
from infnet_runtime.model.recognise import recognised
from tiny_models import mid_grey_detector, recorded


def looked_up(path: Path, precision: str = "bf16") -> Judgement:
    content = path.read_bytes()
    assert read_metadata(content) == read_facts(content).metadata
    return judgement(read_metadata(content), content, recognised(content, path).manifest, precision, path)


def with_another_manifest(path: Path, old: str, new: str) -> Path:
    model = onnx.load(path)
    properties = {p.key: p.value.replace(old, new) for p in model.metadata_props}
    assert any(p.value != properties[p.key] for p in model.metadata_props), "nothing was changed"
    helper.set_model_props(model, properties)
    path.write_bytes(model.SerializeToString())
    return path


def test_figures_that_were_recorded_are_found(tmp_path: Path) -> None:
    found = looked_up(recorded(mid_grey_detector(tmp_path / "m.onnx")))
    assert (found.scans, found.smallest_dice, found.largest_ml) == (3, 0.99, 0.4)


def test_a_file_without_a_record(tmp_path: Path) -> None:
    path = mid_grey_detector(tmp_path / "m.onnx")
    told = r"INF-4060\] .*m.onnx has no record that its masks stay the same in bf16; record it with: infnet-"
    with pytest.raises(ModelError, match=told):
        looked_up(path)
    with pytest.raises(ModelError, match=r"INF-4060\] .* in bf16, only in f8; record it with"):
        looked_up(recorded(path, passed=("f8",)))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"passed": {}}',
        '{"subject_sha256": "0", "passed": {"bf16": {"scans": 0}}}',
        '{"subject_sha256": "0", "passed": {"bf16": {"scans": 0, "smallest_dice": 1.0, "largest_ml": 0.0, '
        '"largest_percent": 0.0, "infection_ml": 1.0, "reference_sha256": "0", "method": "m"}}}',
    ],
)
def test_a_record_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match=r"INF-4061\] .*a record of precisions that cannot be read \("):
        looked_up(recorded(mid_grey_detector(tmp_path / "m.onnx"), text))


def test_a_record_of_another_graph_says_nothing(tmp_path: Path) -> None:
    record = {
        p.key: p.value for p in onnx.load(recorded(mid_grey_detector(tmp_path / "a.onnx"))).metadata_props
    }
    other = recorded(mid_grey_detector(tmp_path / "b.onnx", gain=10.0), record[JUDGED_KEY])
    with pytest.raises(
        ModelError, match=r"INF-4062\] .*b.onnx has a record of precisions that belongs to an"
    ):
        looked_up(other)


def test_another_threshold_or_window_needs_another_judgement_and_another_name_none(tmp_path: Path) -> None:
    path = recorded(mid_grey_detector(tmp_path / "m.onnx"))
    assert looked_up(with_another_manifest(path, '"name":"mid-grey"', '"name":"renamed"')).scans == 3
    with pytest.raises(ModelError, match="INF-4062"):
        looked_up(with_another_manifest(path, '"threshold":0.5', '"threshold":0.4'))
