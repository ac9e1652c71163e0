"""What a file is, for people: a model, one that takes HU, weights of a run."""

import json
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest
import torch
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.hu_entry import with_hu_entry
from infnet_export.graph.inspection import WeightsInspection, inspect_file, inspect_model
from infnet_export.graph.onnx_file import with_manifest
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from tiny_models import MANIFEST, mid_grey_detector


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


def test_a_model_takes_the_lungs(model: Path) -> None:
    text = inspect_model(model).to_text()
    assert "slices     window -1050..250 HU, lungs with 5 mm around them, 192 x 192 pixels" in text
    assert "mask       probability >= 0.5, temperature 1" in text


def test_a_file_that_takes_hu_leaves_the_crop_to_the_caller(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.hu.onnx"
    path.write_bytes(with_hu_entry(onnx.load(model), 70, 90).SerializeToString())
    found = inspect_model(path)
    assert found.entry == {"input": "hu", "unit": "HU", "rows": 70, "columns": 90}
    text = found.to_text()
    assert "slices     whole pictures of 70 x 90 pixels in HU, as they are; window and resize" in text
    assert "the crop to the lungs with 5 mm around them is the caller's (docs/hu-graph.md)" in text
    assert (
        "mask       probability >= 0.5, inside the lungs, both the caller's; temperature 1 is in the file"
        in text
    )
    assert "input      hu: INT16 (n, 70, 90)" in text or "hu INT16 (n, 70, 90)" in text
    assert json.loads(json.dumps(found.to_dict()))["entry"]["rows"] == 70


def test_weights_of_a_run_are_told_from_a_model(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"weights/a": torch.zeros(2, 3), "weights/b": torch.zeros(4), "optimiser/a": torch.zeros(1)}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": asdict(PreprocessSpec())}}))
    found = inspect_file(path)
    assert isinstance(found, WeightsInspection)
    assert (found.format, found.network, found.values) == ("safetensors", "inf-net", 11)
    assert found.groups == {"weights": 2, "optimiser": 1}
    done = CliRunner().invoke(app, ["inspect", str(path)])
    assert done.exit_code == 0, done.exception
    assert "kind       weights of a training (safetensors), no model that can be run" in done.stdout
    assert f"to do      infnet-export {path} -o model.onnx" in done.stdout
    report = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    assert report["groups"] == {"weights": 2, "optimiser": 1}


def test_a_checkpoint_of_pytorch_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "Inf-Net-100.pth"
    torch.save({"a": torch.zeros(3)}, path)
    found = inspect_file(path)
    assert isinstance(found, WeightsInspection)
    assert found.format == "PyTorch"
    assert "tensors    not read" in found.to_text()


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    for name, code in (("none.onnx", 4030), ("none.safetensors", 4030), ("none.plan", 4040)):
        with pytest.raises(ModelError) as caught:
            inspect_file(tmp_path / name)
        assert caught.value.code == code
    (tmp_path / "notes.txt").write_text("nothing of infnet")
    with pytest.raises(ModelError, match="is not an ONNX file, or is cut off"):
        inspect_file(tmp_path / "notes.txt")


def test_other_tools_see_version_and_description(model: Path) -> None:
    plain = onnx.load(model)
    described = with_manifest(plain, MANIFEST)
    assert plain.doc_string == ""
    assert described.doc_string.startswith("mid-grey 1: COVID-19 infection")
    extended = with_hu_entry(described, 70, 90)
    assert extended.doc_string.startswith(described.doc_string)
    assert "Takes HU of 70 x 90 pixels" in extended.doc_string
    described.model_version = 7
    assert with_hu_entry(described, 70, 90).model_version == 7
