"""A model's level of false marks travels in its metrics, and older readers do not mind."""

from dataclasses import replace

import pytest

from infnet_runtime.model.false_marks import FalseMarks
from infnet_runtime.model.manifest import ManifestError, ModelManifest
from tiny_models import MANIFEST

LEVEL = FalseMarks(ml=30.5, percent=0.8, scans=4)


def test_a_manifest_carries_its_level() -> None:
    manifest = replace(MANIFEST, metrics={"Dice": 0.7, **LEVEL.metrics()})
    read = ModelManifest.from_json(manifest.to_json(), source="model.onnx")
    assert read.false_marks == LEVEL
    assert read.metrics["Dice"] == 0.7


@pytest.mark.parametrize("missing", [None, "false_marks_ml", "false_marks_percent", "false_marks_scans"])
def test_without_all_numbers_there_is_no_level(missing: str | None) -> None:
    metrics = {} if missing is None else LEVEL.metrics()
    metrics.pop(missing or "", None)
    assert replace(MANIFEST, metrics=metrics).false_marks is None


@pytest.mark.parametrize("wrong", [{"ml": -1.0}, {"ml": float("nan")}, {"percent": 101.0}, {"scans": 0}])
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    metrics = LEVEL.metrics() | {f"false_marks_{name}": value for name, value in wrong.items()}
    with pytest.raises(ManifestError, match="false marks are .* expected 0 or more") as caught:
        replace(MANIFEST, metrics=metrics)
    assert caught.value.code == 4023
