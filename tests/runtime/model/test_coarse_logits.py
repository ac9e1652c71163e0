"""What a file says of its coarse logits: read to the word, refused where it is not known or contradicts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from infnet_runtime.backends import open_session
from infnet_runtime.errors import ModelError
from infnet_runtime.model.coarse_logits import COARSE_KEY, CoarseSpec, outputs_given, outputs_promised
from infnet_runtime.model.manifest import METADATA_KEY, PreprocessSpec
from infnet_runtime.model.recognise import recognised
from tiny_models import COARSE, MANIFEST, SIZE, TWO_OUTPUTS, coarse_detector, mid_grey_detector

WRITTEN = {
    "activation": "sigmoid",
    "factor": 8,
    "mode": "linear",
    "output": "coarse_logits",
    "positions": "half_pixel",
    "probability": "infection_probability",
}


def read(**changes: Any) -> CoarseSpec:  # noqa: ANN401
    return CoarseSpec.from_json(json.dumps(WRITTEN | changes), source="m.onnx")


def test_there_and_back() -> None:
    assert json.loads(COARSE.to_json()) == WRITTEN
    assert read() == COARSE


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "cubic"},
        {"positions": "align_corners"},
        {"activation": "softmax"},
        {"gamma": 2},
        {"factor": "8"},
    ],
)
def test_what_is_not_known_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"\[INF-4054\] .*; update infnet or export the model again"):
        read(**changes)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"factor": 8})])
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"\[INF-4054\]"):
        CoarseSpec.from_json(text, source="m.onnx")


def test_what_contradicts_the_manifest_is_refused(tmp_path: Path) -> None:
    wrong = [
        replace(COARSE, probability="kind_probability"),
        replace(COARSE, output="infection_probability"),
        replace(COARSE, factor=7),
    ]
    for spec in wrong:
        path = coarse_detector(tmp_path / "model.onnx", spec=spec)
        with pytest.raises(ModelError, match=r"\[INF-4055\] coarse logits '\w+' lead to '\w+' by \d times"):
            recognised(path.read_bytes(), path)
    with pytest.raises(
        ModelError, match=r"\[INF-4055\] coarse logits are enlarged 1 times, expected 2 or more"
    ):
        read(factor=1)


def test_a_graph_without_what_the_file_says_is_refused(tmp_path: Path) -> None:
    path = coarse_detector(tmp_path / "model.onnx", spec=replace(COARSE, factor=4))
    told = r"\[INF-4033\] .* 'coarse_logits' float32 \(n, 1, 24, 24\), its manifest promises"
    with pytest.raises(ModelError, match=told):
        open_session(path, device="cpu")
    model = onnx.load(mid_grey_detector(path))
    helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json(), COARSE_KEY: COARSE.to_json()})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"\[INF-4033\] .* 'infection_probability', 'coarse_logits'; export"):
        open_session(path, device="cpu")


def test_an_output_that_the_file_does_not_speak_of_is_refused_as_before(tmp_path: Path) -> None:
    path = coarse_detector(tmp_path / "model.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json()})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"\[INF-4033\]"):
        open_session(path, device="cpu", coarse=True)


def test_coarse_logits_stand_in_the_place_of_what_they_lead_to() -> None:
    assert outputs_given(MANIFEST) == {"infection_probability": (1, SIZE, SIZE)}
    assert outputs_given(MANIFEST, COARSE) == {"coarse_logits": (1, SIZE // 8, SIZE // 8)}
    assert list(outputs_given(TWO_OUTPUTS, COARSE)) == ["kind_probability", "coarse_logits"]
    assert list(outputs_promised(TWO_OUTPUTS, COARSE)) == [
        "kind_probability",
        "infection_probability",
        "coarse_logits",
    ]
    assert outputs_promised(MANIFEST, None) == outputs_given(MANIFEST)
    large = replace(MANIFEST, preprocess=PreprocessSpec(size=352))
    assert outputs_given(large, COARSE) == {"coarse_logits": (1, 44, 44)}


def test_the_file_says_what_it_gives(tmp_path: Path) -> None:
    path = coarse_detector(tmp_path / "model.onnx")
    found = recognised(path.read_bytes(), path)
    assert found.coarse == COARSE
    assert found.manifest == MANIFEST
    without = coarse_detector(tmp_path / "without.onnx", coarse=False)
    content = without.read_bytes()
    assert recognised(content, without).coarse is None
    assert recognised(content, without).cut(content, None) is content
    assert np.array_equal([COARSE.shape(MANIFEST)], [(1, SIZE // 8, SIZE // 8)])
