"""The manifest: exact round trip, and everything foreign refused by name."""

import json

import pytest

from infnet_runtime.manifest import ManifestError, ModelManifest, OutputSpec, PreprocessSpec

MANIFEST = ModelManifest(
    name="infnet",
    version="1.2.3",
    licence="non-commercial research",
    training_data="COVID-SemiSeg",
    weights_sha256="ab" * 32,
    preprocess=PreprocessSpec(window_hu=(-1200.0, 300.0)),
    output=OutputSpec(threshold=0.4),
    created_with={"torch": "2.13.0"},
    metrics={"dice": 0.7},
)


def changed(**values: object) -> str:
    return json.dumps({**json.loads(MANIFEST.to_json()), **values})


def test_round_trip_is_exact_and_canonical() -> None:
    text = MANIFEST.to_json()
    assert ModelManifest.from_json(text, source="m.onnx") == MANIFEST
    assert ModelManifest.from_json(text, source="m.onnx").to_json() == text
    assert " " not in text.replace("non-commercial research", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "m.onnx: the manifest is not JSON"),
        ("[1]", "is not a JSON object"),
        (changed(contract_version=2), "follows preprocessing contract 2, this version of infnet follows 1"),
        (changed(contract_version=None), "follows preprocessing contract None"),
        (changed(extra=1), r"unknown keys \['extra'\]"),
        (changed(preprocess={"size": 352}), "preprocess: the manifest has unknown keys .* lacks"),
        (changed(output=3), "output: found int, expected an object"),
        (changed(created_with=3), "created_with is 3, expected dict"),
    ],
)
def test_foreign_manifests_are_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ModelManifest.from_json(text, source="m.onnx")


def preprocess(**values: object) -> str:
    return changed(preprocess={**json.loads(MANIFEST.to_json())["preprocess"], **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (preprocess(window_hu=[300, -1200]), r"window 300\.\.-1200 HU does not rise"),
        (preprocess(size=350), "input size is 350, expected a multiple of 32"),
        (preprocess(size="352"), "size is '352', expected int"),
        (preprocess(orientation="RAS"), "preprocessing is 'RAS'"),
        (preprocess(kernel="area"), "this version knows 'LPS' with 'triangle-antialias'"),
        (preprocess(std=[0, 1, 1]), "is not usable"),
        (preprocess(crop_margin_mm=-1), "crop margin is -1 mm"),
        (changed(output={"name": "p", "threshold": 1.5}), r"threshold is 1\.5, expected between 0 and 1"),
    ],
)
def test_contracts_that_cannot_be_kept_are_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ModelManifest.from_json(text, source="m.onnx")
