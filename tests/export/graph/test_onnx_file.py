"""The manifest in a file, and the fields that ONNX has for itself."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from infnet_export.graph.onnx_file import manifest_in, with_manifest
from infnet_runtime.model.false_marks import FalseMarks
from tiny_models import MANIFEST, mid_grey_detector


@pytest.mark.parametrize(
    ("version", "number"), [("0.2.0", 2000), ("1.12.3", 1012003), ("1", 0), ("0.2.0rc1", 0)]
)
def test_version_and_description_are_those_of_the_manifest(tmp_path: Path, version: str, number: int) -> None:
    model = onnx.load(mid_grey_detector(tmp_path / "m.onnx"))
    level = FalseMarks(ml=3.0, percent=0.1, scans=2)
    manifest = replace(MANIFEST, version=version, licence="as is", metrics=level.metrics())
    changed = with_manifest(model, manifest)
    assert manifest_in(changed, tmp_path) == manifest
    assert changed.model_version == number
    assert changed.doc_string.startswith(f"mid-grey {version}: COVID-19 infection in axial chest CT")
    assert "Licence: as is." in changed.doc_string
    assert changed.graph == model.graph
    assert (model.model_version, model.doc_string) == (0, "")
