"""What a file of a lung network says about itself."""

import json

import pytest

from infnet_runtime.errors import ModelError
from infnet_runtime.lungs.contract import LungManifest, LungSpec

MANIFEST = LungManifest(
    name="lungs",
    version="1",
    licence="none",
    training_data="phantoms",
    weights_sha256="0" * 64,
    created_with={"torch": "2"},
    metrics={"dice": 0.98},
    spec=LungSpec(size=96, neighbour_mm=8.0),
)


def test_a_manifest_comes_back_as_it_was() -> None:
    assert LungManifest.from_json(MANIFEST.to_json(), "a.onnx") == MANIFEST


@pytest.mark.parametrize("change", [{"spcc": {}}, {"contract": None}, {"spec": {"size": 96}}])
def test_unknown_missing_and_wrong_keys_are_refused(change: dict[str, object]) -> None:
    values = json.loads(MANIFEST.to_json()) | change
    with pytest.raises(ModelError, match=r"manifest of the lung network a\.onnx is refused"):
        LungManifest.from_json(json.dumps(values), "a.onnx")


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ModelError, match="export it again"):
        LungManifest.from_json("{", "a.onnx")


def test_another_contract_is_refused() -> None:
    text = MANIFEST.to_json().replace('"contract": 1', '"contract": 7')
    with pytest.raises(ModelError, match="follows contract 7, this version knows 1"):
        LungManifest.from_json(text, "a.onnx")


@pytest.mark.parametrize(
    "values", [{"window_hu": (250.0, -1050.0)}, {"size": 100}, {"size": 0}, {"neighbour_mm": 0.0}]
)
def test_a_contract_that_cannot_be_kept_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="expected a window that rises"):
        LungSpec(**values)  # type: ignore[arg-type]
