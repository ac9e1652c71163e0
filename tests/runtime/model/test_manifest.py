"""The manifest: exact round trip, and everything foreign refused by name."""

import dataclasses
import json

import pytest

from infnet_runtime.model.manifest import ManifestError, ModelManifest, OutputSpec, PreprocessSpec

MANIFEST = ModelManifest(
    name="infnet",
    version="1.2.3",
    licence="non-commercial research",
    training_data="COVID-SemiSeg",
    weights_sha256="ab" * 32,
    preprocess=PreprocessSpec(window_hu=(-1200.0, 300.0)),
    outputs=(OutputSpec(thresholds=(0.4,), temperature=1.25),),
    created_with={"torch": "2.13.0"},
    metrics={"dice": 0.7},
)


def changed(**values: object) -> str:
    return json.dumps({**json.loads(MANIFEST.to_json()), **values})


def test_round_trip_is_exact_and_canonical() -> None:
    text = MANIFEST.to_json()
    assert ModelManifest.from_json(text, source="m.onnx") == MANIFEST
    assert ModelManifest.from_json(text, source="m.onnx").to_json() == text
    assert ", " not in text
    assert ": " not in text


def test_the_mask_s_labels_have_codes_and_files_from_before_read_the_same() -> None:
    (label,) = MANIFEST.labels.values()
    assert (label["name"], label["scheme"], label["code"]) == ("infection", "SCT", "882784691000119100")
    values = json.loads(MANIFEST.to_json())
    del values["labels"]
    assert ModelManifest.from_json(json.dumps(values), source="m.onnx") == MANIFEST
    with pytest.raises(ManifestError, match="labels is"):
        ModelManifest.from_json(changed(labels={"1": {"name": 3}}), source="m.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "m.onnx: the manifest is not JSON"),
        ("[" * 100_000, "the manifest is not JSON .brackets within brackets, far too many"),
        ("[1]", "is not a JSON object"),
        (changed(contract_version=3), "contract 3, this version of infnet follows 1 and 2"),
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


def output(**values: object) -> str:
    return changed(output={**json.loads(MANIFEST.to_json())["output"], **values})


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
        (output(temperature=0), "temperature is 0, expected a finite number above 0"),
        (output(temperature=-1.5), r"temperature is -1\.5, expected a finite number above 0"),
        (output(temperature=float("nan")), "temperature is nan"),
        (output(temperature=float("inf")), "temperature is inf"),
        (output(temperature="1"), "output: temperature is '1', expected float"),
        (output(temperature=True), "output: temperature is True, expected float"),
        (output(temperature=None), "output: temperature is None, expected float"),
    ],
)
def test_contracts_that_cannot_be_kept_are_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ModelManifest.from_json(text, source="m.onnx")


def test_manifests_from_before_calibration_have_temperature_1() -> None:
    older = changed(output={"name": "infection_probability", "threshold": 0.4})
    assert "temperature" not in older
    manifest = ModelManifest.from_json(older, source="m.onnx")
    assert manifest.output == OutputSpec(thresholds=(0.4,), temperature=1.0)


def test_temperature_is_written_where_it_is_not_1() -> None:
    """Versions from before calibration refuse the key, and read a model that needs none."""
    assert json.loads(MANIFEST.to_json())["output"]["temperature"] == 1.25
    plain = dataclasses.replace(MANIFEST, outputs=(OutputSpec(thresholds=(0.4,)),))
    assert json.loads(plain.to_json())["output"] == {"name": "infection_probability", "threshold": 0.4}
    assert ModelManifest.from_json(plain.to_json(), source="m.onnx") == plain


def test_other_keys_of_the_output_are_still_needed() -> None:
    with pytest.raises(ManifestError, match=r"output: .* lacks \['threshold'\]"):
        ModelManifest.from_json(changed(output={"name": "p", "temperature": 2.0}), source="m.onnx")
    with pytest.raises(ManifestError, match=r"output: .* unknown keys \['temperatur'\]"):
        ModelManifest.from_json(output(temperatur=2.0), source="m.onnx")
