"""A model's slice gate travels in its metrics, and older readers do not mind."""

from dataclasses import replace

import pytest

from infnet_runtime.model.manifest import ManifestError, ModelManifest
from infnet_runtime.model.slice_gate import SLICE_GATE_KEYS, SliceGate
from tiny_models import MANIFEST

GATE = SliceGate(mm2=150.0, sensitivity=0.95, specificity=0.8, slices=200)


def test_a_manifest_carries_its_gate() -> None:
    manifest = replace(MANIFEST, metrics={"Dice": 0.7, **GATE.metrics()})
    read = ModelManifest.from_json(manifest.to_json(), source="model.onnx")
    assert read.slice_gate == GATE
    assert read.metrics["Dice"] == 0.7


@pytest.mark.parametrize("missing", [None, *SLICE_GATE_KEYS])
def test_without_all_numbers_there_is_no_gate(missing: str | None) -> None:
    metrics = {} if missing is None else GATE.metrics()
    metrics.pop(missing or "", None)
    assert replace(MANIFEST, metrics=metrics).slice_gate is None


@pytest.mark.parametrize(
    "wrong",
    [{"mm2": 0.0}, {"mm2": float("nan")}, {"sensitivity": 1.1}, {"specificity": -0.1}, {"slices": 0}],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    metrics = GATE.metrics() | {f"slice_gate_{name}": value for name, value in wrong.items()}
    with pytest.raises(ManifestError, match=r"slice gate is .* mm2 .* expected above 0") as caught:
        replace(MANIFEST, metrics=metrics)
    assert caught.value.code == 4023
