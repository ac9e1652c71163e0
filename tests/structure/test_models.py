"""The shipped models are the ones their card describes."""

import hashlib
import re
from pathlib import Path

import onnx
import pytest

from infnet_export.graph.onnx_file import manifest_in, read_onnx
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY, LungManifest, LungSpec
from infnet_runtime.model.facts import read_metadata
from infnet_runtime.model.judged import JUDGED_KEY, judgement, subject_of
from infnet_runtime.model.manifest import ModelManifest

MODELS = Path(__file__).parents[2] / "models"
CARD = (MODELS / "README.md").read_text("utf-8")
FILES = dict(re.findall(r"^\| `([\w.]+\.onnx)` \|.*`([0-9a-f]{64})` \|$", CARD, re.MULTILINE))
LUNGS = "infnet.lungs.onnx"
ROWS = {name: sha256 for name, sha256 in FILES.items() if name != LUNGS}


def manifest(name: str) -> tuple[ModelManifest, onnx.ModelProto]:
    model, _ = read_onnx(MODELS / name)
    return manifest_in(model, MODELS / name), model


def test_the_card_lists_every_file() -> None:
    assert sorted(FILES) == sorted(path.name for path in MODELS.glob("*.onnx"))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_hash_name_and_licence_are_those_of_the_card(name: str) -> None:
    assert hashlib.sha256((MODELS / name).read_bytes()).hexdigest() == ROWS[name]
    found, _ = manifest(name)
    assert f"{found.name.removesuffix('-int8')} {found.version}" in CARD
    assert found.licence == "non-commercial research only"
    assert (MODELS / name).stat().st_size < 70e6


def test_the_lung_network_is_that_of_the_card() -> None:
    content = (MODELS / LUNGS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == FILES[LUNGS]
    assert len(content) < 4e6
    found = LungManifest.from_json(read_metadata(content)[LUNG_METADATA_KEY], LUNGS)
    assert found.spec == LungSpec()  # what the training prepares
    assert f"# Card: {found.name} {found.version}" in CARD
    assert found.licence == "non-commercial research only"
    assert found.training_data != "not stated"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_level_of_false_marks_is_that_of_the_card(name: str) -> None:
    found, model = manifest(name)
    level = found.false_marks
    assert level is not None
    rows = re.findall(
        r"^\| [\w-]+.* \| (\d+\.\d|-)(?: ml)? \| (\d\.\d\d) % \| (\d+\.\d|-)(?: ml)? \| (\d\.\d\d) % \|$",
        CARD,
        re.M,
    )
    ml, percent = zip(*((row[2:] if "int8" in name else row[:2]) for row in rows), strict=True)
    assert (level.ml, level.percent, level.scans) == (
        max(float(one) for one in ml if one != "-"),
        max(map(float, percent)),
        len(rows),
    )
    assert model.model_version == 3000
    assert f"{found.name} {found.version}: COVID-19 infection in axial chest CT" in model.doc_string


@pytest.mark.parametrize("name", ["infnet.onnx", "infnet.int8.onnx"])
def test_a_record_of_bf16_is_that_of_the_file(name: str) -> None:
    content = (MODELS / name).read_bytes()
    metadata = read_metadata(content)
    if JUDGED_KEY not in metadata:
        pytest.skip(f"{name} was not judged in bf16, and runs in single precision")
    found, _ = manifest(name)
    figures = judgement(metadata, content, found, "bf16", MODELS / name)
    single, _ = manifest("infnet.onnx")
    assert figures.reference_sha256 == subject_of((MODELS / "infnet.onnx").read_bytes(), single)
    assert figures.scans >= 2


def test_the_8_bit_file_is_the_same_network() -> None:
    (single, _), (small, graph) = manifest("infnet.onnx"), manifest("infnet.int8.onnx")
    assert small.name == f"{single.name}-int8"
    assert (small.version, small.weights_sha256) == (single.version, single.weights_sha256)
    assert (small.preprocess, small.output) == (single.preprocess, single.output)
    assert sum(node.op_type == "QuantizeLinear" for node in graph.graph.node) > 50


@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_file_tells_classes_apart_and_carries_the_gate_of_slices(name: str) -> None:
    found, _ = manifest(name)
    assert found.class_output is not None
    assert [spec.value for spec in found.class_output.classes] == [1, 2]
    gate = found.slice_gate
    assert gate is not None
    assert f"**The slice gate** of all three files is {gate.mm2:g} mm2" in CARD
