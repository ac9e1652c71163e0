"""Contract 2: several outputs, and neighbours as channels; what contradicts itself is refused by name."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from infnet_runtime.model.manifest import (
    CONTRACT_VERSION,
    ManifestError,
    ModelManifest,
    OutputSpec,
    PreprocessSpec,
)
from infnet_runtime.model.specs import CLASS_OUTPUT, CONSOLIDATION, GROUND_GLASS
from infnet_runtime.plain import to_plain
from tiny_models import KINDS

MANIFEST = ModelManifest(
    name="kinds",
    version="1",
    licence="test",
    training_data="none",
    weights_sha256="0" * 64,
    preprocess=PreprocessSpec(channels="neighbours", neighbour_step_mm=5.0),
    outputs=(KINDS, OutputSpec(thresholds=(0.4,), temperature=1.25)),
    contract_version=2,
)


def read(values: dict[str, Any]) -> ModelManifest:
    return ModelManifest.from_json(json.dumps(values), source="m.onnx")


def plain() -> Any:  # noqa: ANN401 - JSON
    return json.loads(MANIFEST.to_json())


def test_round_trip_is_exact_and_canonical() -> None:
    text = MANIFEST.to_json()
    assert read(plain()) == MANIFEST
    assert read(plain()).to_json() == text
    assert json.dumps(plain(), sort_keys=True, separators=(",", ":")) == text


def test_the_example_of_the_documentation_is_read() -> None:
    page = (Path(__file__).parents[3] / "docs/contract.md").read_text("utf-8")
    example = page.split("```json")[1].split("```")[0]
    manifest = ModelManifest.from_json(example, source="docs/contract.md")
    assert manifest.contract_version == 2
    assert manifest.preprocess.channels == "neighbours"
    assert [o.name for o in manifest.outputs] == ["infection_probability", "class_probability"]
    assert manifest.class_output == CLASS_OUTPUT


def test_the_infection_is_found_among_the_outputs() -> None:
    output = MANIFEST.output
    assert (output.name, output.threshold, output.channels) == ("infection_probability", 0.4, 1)
    both = OutputSpec(name="all", classes=(KINDS.classes[0], *OutputSpec().classes), thresholds=(0.2, 0.6))
    assert (both.infection_channel, both.threshold, both.channels) == (1, 0.6, 2)
    assert KINDS.channels == 3
    assert {value: label["name"] for value, label in MANIFEST.labels.items()} == {"1": "infection"}
    assert {value: label["name"] for value, label in KINDS.labels.items()} == {
        "2": "ground glass",
        "3": "consolidation",
    }


def test_the_classes_are_found_among_the_outputs() -> None:
    assert MANIFEST.class_output is None, "other values than those of the class map"
    outputs = (OutputSpec(), CLASS_OUTPUT)
    assert replace(MANIFEST, outputs=outputs).class_output is CLASS_OUTPUT
    coded = replace(CLASS_OUTPUT, name="other", classes=(replace(GROUND_GLASS, code="GGO"), CONSOLIDATION))
    assert replace(MANIFEST, outputs=(coded, OutputSpec())).class_output is coded
    turned = replace(CLASS_OUTPUT, classes=CLASS_OUTPUT.classes[::-1])
    sigmoids = replace(CLASS_OUTPUT, activation="sigmoid", thresholds=(0.5, 0.5))
    for other in (turned, sigmoids):
        assert replace(MANIFEST, outputs=(OutputSpec(), other)).class_output is None


def test_nothing_of_it_appears_in_what_is_written_today() -> None:
    assert CONTRACT_VERSION == 1
    today = replace(MANIFEST, preprocess=PreprocessSpec(), outputs=(OutputSpec(),), contract_version=1)
    values = json.loads(today.to_json())
    assert "outputs" not in values
    assert values["output"] == {"name": "infection_probability", "threshold": 0.5}
    assert set(values["preprocess"]) == set(to_plain(PreprocessSpec()))
    assert set(asdict(PreprocessSpec())) - set(values["preprocess"]) == {"channels", "neighbour_step_mm"}


def output(**values: object) -> dict[str, Any]:
    made = plain()
    made["outputs"][1] |= values
    return dict(made)


def kinds(**values: object) -> dict[str, Any]:
    made = plain()
    made["outputs"][0] |= values
    return dict(made)


def preprocess(**values: object) -> dict[str, Any]:
    made = plain()
    made["preprocess"] |= values
    return dict(made)


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        (kinds(activation="tanh"), 4022, "has activation 'tanh', this version knows 'sigmoid' and 'softmax'"),
        (preprocess(channels="next"), 4022, "channels are 'next', this version knows 'equal' and"),
        (preprocess(neighbour_step_mm=0), 4023, "neighbour step is 0 mm with channels 'neighbours'"),
        (preprocess(neighbour_step_mm=-5), 4023, "neighbour step is -5 mm"),
        (preprocess(neighbour_step_mm=float("nan")), 4023, "neighbour step is nan mm"),
        (preprocess(channels="equal"), 4023, "neighbour step is 5.0 mm with channels 'equal'"),
        (output(thresholds=[]), 4024, "has 0 thresholds for 1 classes, expected one for each"),
        (output(thresholds=[0.5, 0.5]), 4024, "has 2 thresholds for 1 classes"),
        (kinds(thresholds=[0.5]), 4024, "has 1 thresholds for 2 classes"),
        (kinds(thresholds=[0.5, 1.5]), 4023, "threshold is 1.5, expected between 0 and 1"),
        (kinds(temperature=0), 4023, "temperature is 0"),
        (kinds(classes=[]), 4024, "output 'kind_probability' has no classes"),
        (output(name="kind_probability"), 4024, "output 'kind_probability' stands twice"),
        (
            kinds(classes=[asdict(c) | {"value": 1} for c in KINDS.classes]),
            4024,
            "value '1' stands twice in output 'kind_probability', expected once",
        ),
        (
            output(classes=[{**asdict(KINDS.classes[0]), "value": 9}]),
            4024,
            "class 'ground glass' stands twice in the outputs, expected once",
        ),
        (
            output(classes=[{**asdict(KINDS.classes[0]), "value": 0}]),
            4024,
            "class 'ground glass' has value 0, expected 1 to 255",
        ),
        (output(activation="softmax"), 4024, "expected among them one with the class 'infection'"),
        ({**plain(), "outputs": plain()["outputs"][:1]}, 4024, "outputs are kind_probability; expected"),
        ({**plain(), "outputs": []}, 4024, "expected among them one with the class 'infection'"),
        ({**plain(), "output": {}}, 4021, "unknown keys ['output']"),
        ({**plain(), "labels": {}}, 4021, "unknown keys ['labels']"),
        (
            output(threshold=0.5),
            4021,
            "m.onnx: outputs 'infection_probability': the manifest has unknown keys ['threshold']",
        ),
        (
            output(thresholds=0.5),
            4021,
            "m.onnx: outputs 'infection_probability': thresholds is 0.5, expected tuple",
        ),
        (
            output(classes=["infection"]),
            4021,
            "m.onnx: outputs 'infection_probability': classes: found str, expected an object",
        ),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(values)
    assert message in str(caught.value)
    assert caught.value.code == code


@pytest.mark.parametrize("key", ["channels", "neighbour_step_mm"])
def test_contract_2_writes_every_key_and_contract_1_none_of_the_new(key: str) -> None:
    values = plain()
    del values["preprocess"][key]
    with pytest.raises(ManifestError, match=rf"preprocess: .* lacks \['{key}'\]"):
        read(values)
    older = replace(MANIFEST, preprocess=PreprocessSpec(), outputs=(OutputSpec(),), contract_version=1)
    values = json.loads(older.to_json())
    values["preprocess"][key] = "equal"
    with pytest.raises(ManifestError, match=rf"preprocess: .* unknown keys \['{key}'\]"):
        read(values)


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": (OutputSpec(),)},
        {"preprocess": PreprocessSpec()},
        {"contract_version": 3},
    ],
)
def test_contract_1_cannot_hold_it(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"need contract 2|contract is 3, expected one of"):
        replace(MANIFEST, **{"contract_version": 1, **change})
