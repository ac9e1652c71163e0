"""The model repository for Triton, read back with a small reader of the text format of protocol buffers."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from infnet_export.triton import TritonSettings, check_place, write_triton
from infnet_runtime.backends.tensorrt.sidecar import BatchRange, EngineSidecar, EngineTensor, sidecar_path
from infnet_runtime.errors import InputError, ModelError, OutputError
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest
from tiny_models import MANIFEST, SIZE, mid_grey_detector

TOKEN = re.compile(r'\s+|#[^\n]*|(?P<token>"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|-?\d+|[{}\[\]:,])')


def parse(text: str) -> dict[str, list[Any]]:
    """Field to its values; messages are dictionaries of the same kind."""
    tokens, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, f"cannot read {text[at : at + 40]!r}"
        at = match.end()
        if match["token"]:
            tokens.append(match["token"])
    fields = _fields(tokens)
    assert not tokens
    return fields


def _fields(tokens: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    while tokens and tokens[0] != "}":
        name = tokens.pop(0)
        assert name.isidentifier(), name
        if tokens[0] == ":":
            tokens.pop(0)
        else:
            assert tokens[0] in "{[", f"{name} without a colon"
        values = _list(tokens) if tokens[0] == "[" else [_value(tokens)]
        found.setdefault(name, []).extend(values)
    return found


def _list(tokens: list[str]) -> list[Any]:
    assert tokens.pop(0) == "["
    values = []
    while tokens[0] != "]":
        values.append(_value(tokens))
        if tokens[0] == ",":
            tokens.pop(0)
            assert tokens[0] != "]", "a comma at the end of a list"
    tokens.pop(0)
    return values


def _value(tokens: list[str]) -> str | int | dict[str, list[Any]]:
    token = tokens.pop(0)
    if token == "{":
        fields = _fields(tokens)
        assert tokens.pop(0) == "}"
        return fields
    assert token not in "]}:,", token
    if token[0] == '"':
        return json.loads(token)
    return int(token) if re.fullmatch(r"-?\d+", token) else token


def config(folder: Path) -> dict[str, list[Any]]:
    return parse((folder / "config.pbtxt").read_text("utf-8"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "tiny.onnx")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return engine(tmp_path / "tiny.plan", BatchRange(1, 4, 6))


def engine(path: Path, batch: BatchRange) -> Path:
    """Bytes and the sidecar that describes them; Triton alone would open them."""
    import hashlib

    path.write_bytes(b"an engine")
    sidecar = EngineSidecar(
        plan_sha256=hashlib.sha256(b"an engine").hexdigest(),
        plan_bytes=9,
        onnx_sha256="0" * 64,
        package="tensorrt",
        version="11.4.0.106",
        gpu=None,
        batch=batch,
        inputs=(EngineTensor(name="slices", dtype="HALF", shape=(-1, 3, SIZE, SIZE)),),
        outputs=(EngineTensor(name="infection_probability", dtype="FLOAT", shape=(-1, 1, SIZE, SIZE)),),
        layers={},
        kept_in_fp32=(),
        tf32=False,
        manifest=MANIFEST,
    )
    sidecar_path(path).write_text(sidecar.to_json())
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_onnx_repository(tiny: Path, tmp_path: Path) -> None:
    folder = write_triton(tiny, tmp_path / "repository", TritonSettings())
    assert folder == tmp_path / "repository" / "infnet"
    assert files(folder) == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    assert (folder / "1" / "model.onnx").read_bytes() == tiny.read_bytes()
    warm_up = {
        "key": ["slices"],
        "value": [{"data_type": ["TYPE_FP32"], "dims": [3, SIZE, SIZE], "zero_data": ["true"]}],
    }
    assert config(folder) == {
        "name": ["infnet"],
        "platform": ["onnxruntime_onnx"],
        "max_batch_size": [8],
        "input": [{"name": ["slices"], "data_type": ["TYPE_FP32"], "dims": [3, SIZE, SIZE]}],
        "output": [{"name": ["infection_probability"], "data_type": ["TYPE_FP32"], "dims": [1, SIZE, SIZE]}],
        "instance_group": [{"count": [1], "kind": ["KIND_GPU"]}],
        "dynamic_batching": [{"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": [2000]}],
        "model_warmup": [
            {"name": ["batch of 1"], "batch_size": [1], "inputs": [warm_up]},
            {"name": ["batch of 8"], "batch_size": [8], "inputs": [warm_up]},
        ],
        "parameters": [{"key": [METADATA_KEY], "value": [{"string_value": [MANIFEST.to_json()]}]}],
    }


def test_the_manifest_can_be_read_from_the_parameters(tmp_path: Path) -> None:
    """Whatever is in it: quotes, backslashes, line ends, other scripts."""
    words = 'a "b" \\ c\nd é ψ'
    manifest = ModelManifest(
        name=words,
        version="1",
        licence="l",
        training_data=words,
        weights_sha256="0" * 64,
        preprocess=MANIFEST.preprocess,
    )
    model = mid_grey_detector(tmp_path / "m.onnx", manifest=manifest.to_json())
    (parameter,) = config(write_triton(model, tmp_path / "r", TritonSettings()))["parameters"]
    (text,) = parameter["value"][0]["string_value"]
    assert ModelManifest.from_json(text, source="config") == manifest


def test_labels_are_those_of_the_manifest(tiny: Path, tmp_path: Path) -> None:
    folder = write_triton(tiny, tmp_path / "r", TritonSettings())
    expected = [f"{value} {label['name']}" for value, label in sorted(MANIFEST.labels.items())]
    assert (folder / "labels.txt").read_text().splitlines() == expected
    assert len(expected) >= 1


def test_settings_reach_the_file(tiny: Path, tmp_path: Path) -> None:
    settings = TritonSettings(name="ct", largest_batch=1, queue_delay_us=0, instances=2, gpu=False)
    found = config(write_triton(tiny, tmp_path, settings))
    assert found["instance_group"] == [{"count": [2], "kind": ["KIND_CPU"]}]
    assert found["dynamic_batching"] == [{"max_queue_delay_microseconds": [0]}]
    assert (found["name"], found["max_batch_size"]) == (["ct"], [1])
    assert len(found["model_warmup"]) == 1


def test_engine_repository(plan: Path, tmp_path: Path) -> None:
    folder = write_triton(plan, tmp_path / "r", TritonSettings(largest_batch=6, gpu=False))
    assert files(folder) == ["1/model.plan", "1/model.plan.json", "config.pbtxt", "labels.txt"]
    found = config(folder)
    assert found["platform"] == ["tensorrt_plan"]
    assert found["max_batch_size"] == [6]
    assert found["instance_group"][0]["kind"] == ["KIND_GPU"], "an engine runs nowhere else"
    assert found["input"][0]["data_type"] == ["TYPE_FP16"]


def test_engine_that_does_not_take_the_batch(plan: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_triton(plan, tmp_path / "r", TritonSettings(largest_batch=7))
    assert str(caught.value) == (
        f"[INF-3143] {plan} takes batches 1:4:6, Triton was asked to send 1 to 7; choose a batch of at "
        "most 6, or build the engine for it from 1 on"
    )
    engine(plan, BatchRange(2, 4, 6))
    with pytest.raises(InputError, match="takes batches 2:4:6, Triton was asked to send 1 to 6"):
        write_triton(plan, tmp_path / "r", TritonSettings(largest_batch=6))


def test_damaged_engine_is_refused(plan: Path, tmp_path: Path) -> None:
    plan.write_bytes(b"another")
    with pytest.raises(ModelError, match="INF-4042"):
        write_triton(plan, tmp_path / "r", TritonSettings())


def test_a_model_that_is_there_gets_another_version(tiny: Path, tmp_path: Path) -> None:
    first = tiny.read_bytes()
    write_triton(tiny, tmp_path / "r", TritonSettings())
    newer = mid_grey_detector(tmp_path / "newer.onnx", manifest=replace(MANIFEST, version="2").to_json())
    folder = write_triton(newer, tmp_path / "r", TritonSettings(instances=2))
    assert files(folder) == ["1/model.onnx", "2/model.onnx", "config.pbtxt", "labels.txt"]
    assert (folder / "1" / "model.onnx").read_bytes() == first
    assert (folder / "2" / "model.onnx").read_bytes() == newer.read_bytes()
    assert config(folder)["instance_group"][0]["count"] == [2]
    assert '"mid-grey 2"' in (folder / "config.pbtxt").read_text()
    (folder / "7").mkdir()
    write_triton(newer, tmp_path / "r", TritonSettings())
    assert (folder / "8" / "model.onnx").is_file()


def test_a_version_of_other_inputs_is_none(tiny: Path, plan: Path, tmp_path: Path) -> None:
    folder = write_triton(tiny, tmp_path / "r", TritonSettings())
    before = (folder / "config.pbtxt").read_text()
    with pytest.raises(
        OutputError, match=r"\[INF-8010\] .*r/infnet holds a model of another platform, or of"
    ):
        write_triton(plan, tmp_path / "r", TritonSettings(largest_batch=6))
    assert files(folder) == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    assert (folder / "config.pbtxt").read_text() == before


def test_what_was_changed_by_hand_stays(tiny: Path, tmp_path: Path) -> None:
    folder = write_triton(tiny, tmp_path / "r", TritonSettings())
    check_place(tmp_path / "r", "infnet")
    check_place(tmp_path / "r", "another")
    text = (folder / "config.pbtxt").read_text()
    for changed in ("mine", text.replace("count: 1", "count: 3"), ""):
        (folder / "config.pbtxt").write_text(changed)
        for write in (
            lambda: write_triton(tiny, tmp_path / "r", TritonSettings()),
            lambda: check_place(tmp_path / "r", "infnet"),
        ):
            with pytest.raises(OutputError, match=r"\[INF-8010\] .*r/infnet is there already and is not as"):
                write()
        assert (folder / "config.pbtxt").read_text() == changed
    assert files(folder) == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    write_triton(tiny, tmp_path / "r", TritonSettings(name="second"))
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["infnet", "second"]


def test_types_that_triton_is_not_told_of(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    tiny.write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelError, match=r"\[INF-4033\] .* has 'slices' of type 11 and shape \(-1, 3, 192, 192\)"
    ):
        write_triton(tiny, tmp_path / "r", TritonSettings())


def test_folder_that_cannot_be_written(tiny: Path) -> None:
    with pytest.raises(OutputError, match=r"\[INF-8001\] "):
        write_triton(tiny, tiny / "inside-a-file", TritonSettings())


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=r"\[INF-3143\] '.*' cannot name a model"):
        TritonSettings(name=name)


@pytest.mark.parametrize("change", [{"largest_batch": 0}, {"instances": 0}, {"queue_delay_us": -1}])
def test_numbers_are_checked(change: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"\[INF-3143\] batch "):
        TritonSettings(**change)  # type: ignore[arg-type]


def test_the_reader_of_configurations_sees_faults() -> None:
    for text in ("name infnet", "a: [1, 2", "a: [1,]", 'a: "x', "a { b: 1", "a: }"):
        with pytest.raises((AssertionError, IndexError)):
            parse(text)
