"""The file beside an engine: both ways, and every reason to refuse an engine."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from infnet_runtime.backends.cuda.driver import Gpu
from infnet_runtime.backends.tensorrt.sidecar import (
    BatchRange,
    EngineSidecar,
    EngineTensor,
    read_engine,
    sidecar_path,
)
from infnet_runtime.errors import InputError, ModelError
from infnet_runtime.model.manifest import ModelManifest

PLAN = b"an engine"
SIDECAR = EngineSidecar(
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    plan_bytes=len(PLAN),
    onnx_sha256="1" * 64,
    package="tensorrt",
    version="11.4.0.106",
    gpu=Gpu(name="NVIDIA H100", capability="9.0", driver_cuda="13.0"),
    batch=BatchRange(1, 2, 16),
    inputs=(EngineTensor(name="slices", dtype="FLOAT", shape=(-1, 3, 352, 352)),),
    outputs=(EngineTensor(name="infection_probability", dtype="FLOAT", shape=(-1, 1, 352, 352)),),
    layers={"HALF": 400, "FLOAT": 30},
    kept_in_fp32=("partial_decoder",),
    tf32=False,
    manifest=ModelManifest(name="m", version="1", licence="l", training_data="t", weights_sha256="0" * 64),
)
HERE = {"package": "tensorrt", "version": "11.4.0.106", "capability": "9.0"}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(PLAN)
    sidecar_path(path).write_text(SIDECAR.to_json())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_engine(path)
    return str(caught.value)


def test_there_and_back(engine: Path) -> None:
    assert read_engine(engine) == (PLAN, SIDECAR)
    without_gpu = dataclasses.replace(SIDECAR, gpu=None)
    assert EngineSidecar.from_json(without_gpu.to_json(), source="x") == without_gpu


@pytest.mark.parametrize(
    ("layers", "tf32", "precision"),
    [
        ({"FLOAT": 9}, False, "float32"),
        ({"FLOAT": 9}, True, "tf32"),
        ({"HALF": 9, "FLOAT": 1}, True, "float16"),
        ({"INT8": 9, "FLOAT": 1}, True, "int8 + tf32"),
    ],
)
def test_precision_is_what_layers_may_compute_in(layers: dict[str, int], tf32: bool, precision: str) -> None:
    assert dataclasses.replace(SIDECAR, layers=layers, tf32=tf32).precision == precision


def test_either_file_missing(engine: Path) -> None:
    sidecar_path(engine).unlink()
    assert refusal(engine) == (
        f"[INF-4040] no engine at {engine}: {engine}.json missing; copy both files, or build the engine again"
    )
    engine.unlink()
    assert f"{engine} and {engine}.json missing" in refusal(engine)


@pytest.mark.parametrize("content", [PLAN[:-1], PLAN + b"x", b""])
def test_another_or_truncated_engine(engine: Path, content: bytes) -> None:
    engine.write_bytes(content)
    assert refusal(engine).startswith(
        f"[INF-4042] {engine} ({len(content)} bytes) is not the engine that {engine}.json describes (9 bytes)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
        ({"batch": {"smallest": 4, "usual": 1, "largest": 8}}, "batch 4:1:8 does not rise"),
        ({"gpu": {"name": "x"}}, "missing 2 required keyword-only arguments"),
        ({"inputs": [{"name": "x"}]}, "missing 2 required keyword-only arguments: 'dtype' and 'shape'"),
        ({"sidecar_version": 1}, "has format 1, this version of infnet reads 2"),
    ],
)
def test_damaged_sidecars(engine: Path, change: dict[str, Any], message: str) -> None:
    values = json.loads(SIDECAR.to_json()) | change
    sidecar_path(engine).write_text(json.dumps(values))
    text = refusal(engine)
    assert text.startswith("[INF-4041] ")
    assert message in text
    assert text.endswith("build the engine again")


@pytest.mark.parametrize("key", sorted(json.loads(SIDECAR.to_json())))
def test_every_key_is_needed(engine: Path, key: str) -> None:
    values = json.loads(SIDECAR.to_json())
    del values[key]
    sidecar_path(engine).write_text(json.dumps(values))
    assert refusal(engine).startswith("[INF-4041] ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_other_text(engine: Path, text: str) -> None:
    sidecar_path(engine).write_text(text)
    assert refusal(engine).startswith(f"[INF-4041] {engine}.json ")


def test_foreign_manifest_is_refused_as_in_a_model(engine: Path) -> None:
    values = json.loads(SIDECAR.to_json())
    values["manifest"]["contract_version"] = 9
    sidecar_path(engine).write_text(json.dumps(values))
    assert refusal(engine).startswith("[INF-4022] ")


def test_the_machine_that_built_it_runs_it() -> None:
    SIDECAR.check_runs_with(**HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": "10.13.3.9"},
            "[INF-4043] the engine was built by tensorrt 11.4.0.106, here is tensorrt 10.13.3.9; an engine "
            "runs on the version that built it: install that one, or build the engine again",
        ),
        (
            {"package": "tensorrt_rtx"},
            "[INF-4043] the engine was built by tensorrt 11.4.0.106, here is tensorrt_rtx",
        ),
        (
            {"capability": "8.9"},
            "[INF-4044] the engine was built on NVIDIA H100 (compute capability 9.0), the GPU here has 8.9; "
            "build the engine again on this machine",
        ),
    ],
)
def test_another_machine_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        SIDECAR.check_runs_with(**(HERE | change))
    assert str(caught.value).startswith(message)


def test_an_engine_built_without_a_gpu_runs_on_any() -> None:
    rtx = dataclasses.replace(SIDECAR, gpu=None, package="tensorrt_rtx", version="1.7.1.116")
    rtx.check_runs_with(package="tensorrt_rtx", version="1.7.1.116", capability="8.9")


@pytest.mark.parametrize(
    "text",
    ["", "4", "1:4", "1:4:8:9", "a:4:8", "1:4:-8", "8:4:1", "1:4:2147483648", "0:4:8", "1:9:8", "²:4:8"],
)
def test_batch_ranges_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"\[INF-3140\] batch .*expected MIN:OPT:MAX such as 1:4:8"):
        BatchRange.parse(text)
