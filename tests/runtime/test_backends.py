"""Models and devices: what is asked for is used or refused, and what comes back is checked."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from infnet_runtime.backends import open_session
from infnet_runtime.backends.open import default_model, usable_cores
from infnet_runtime.backends.session import run_checked
from infnet_runtime.errors import BackendError, GateError, ModelError
from tiny_models import MANIFEST, SIZE, mid_grey_detector

BATCH = np.zeros((2, 3, SIZE, SIZE), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


def test_session_tells_what_it_is(model: Path) -> None:
    with open_session(model, device="cpu", threads=1) as session:
        assert session.manifest == MANIFEST
        assert session.device == "cpu"
        assert session.backend.startswith("onnxruntime ")
        assert session.model_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
        output = run_checked(session, BATCH)
    assert output.shape == (2, SIZE, SIZE)
    assert output.dtype == np.float32


def test_auto_says_what_it_chose(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), open_session(model) as session:
        assert f"device auto: {session.device}" in caplog.text


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", "", "tpu"])
def test_unknown_devices_are_refused(model: Path, device: str) -> None:
    with pytest.raises(BackendError, match="is not known, expected auto, cpu, cuda or cuda:N"):
        open_session(model, device=device)


def test_cuda_is_never_replaced_by_the_cpu(model: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(
        BackendError, match=r"device 'cuda' was asked for, the installed onnxruntime .* has no CUDA"
    ):
        open_session(model, device="cuda")


def test_a_cuda_provider_that_does_not_come_up_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU wheel on a machine without a driver lists CUDA and then runs on the CPU."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def falls_back(content: bytes, options: Any, providers: list[Any]) -> Any:  # noqa: ANN401 - untyped library
        assert providers[0][0] == "CUDAExecutionProvider"
        return real(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    with pytest.raises(BackendError, match="device 'cuda:1' was asked for, ONNX Runtime could not use it"):
        open_session(model, device="cuda:1")
    with open_session(model, device="auto") as session:
        assert session.device == "cpu"


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at .*none.onnx; give one with --model"):
        open_session(tmp_path / "none.onnx")


def test_training_weights_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"holds training weights, expected an ONNX model; make one with: infnet-export"
    ):
        open_session(tmp_path / "weights.safetensors")


def test_foreign_onnx_is_refused(tmp_path: Path) -> None:
    foreign = mid_grey_detector(tmp_path / "foreign.onnx", manifest=None)
    with pytest.raises(ModelError, match="is an ONNX model without 'infnet.manifest'"):
        open_session(foreign)


def test_a_model_of_another_contract_is_refused(tmp_path: Path) -> None:
    text = MANIFEST.to_json().replace('"contract_version":1', '"contract_version":7')
    with pytest.raises(ModelError, match="follows preprocessing contract 7"):
        open_session(mid_grey_detector(tmp_path / "newer.onnx", manifest=text))


def test_damaged_and_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    for name, content in (
        ("text.onnx", b"hello"),
        ("short.onnx", model.read_bytes()[:300]),
        ("empty.onnx", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be loaded as an ONNX model|is an ONNX model without"):
            open_session(path)


def test_a_graph_that_does_not_keep_its_promise_is_refused(tmp_path: Path) -> None:
    other = mid_grey_detector(tmp_path / "other.onnx", output="logits")
    with pytest.raises(ModelError, match=r"gives \['logits'\], its manifest promises"):
        open_session(other)


def test_weights_in_other_files_are_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(model)
    band = proto.graph.initializer[3]
    raw = numpy_helper.to_array(band).tobytes()
    (tmp_path / "weights.bin").write_bytes(raw)
    band.ClearField("raw_data")
    band.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(len(raw)))):
        band.external_data.add(key=key, value=value)
    path = tmp_path / "external.onnx"
    path.write_bytes(proto.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="keeps weights in other files"):
        open_session(path)


def test_non_finite_and_impossible_probabilities_are_never_passed_on(tmp_path: Path) -> None:
    for name, scale in (("nan", float("nan")), ("two", 2.0)):
        with (
            open_session(mid_grey_detector(tmp_path / f"{name}.onnx", scale=scale)) as session,
            pytest.raises(
                GateError, match="probabilities from 'onnxruntime .* are not finite or not within 0..1"
            ),
        ):
            run_checked(session, np.full((1, 3, SIZE, SIZE), -0.15, np.float32))


def test_a_backend_that_returns_another_shape_is_refused(model: Path) -> None:
    with open_session(model) as session:

        class Short:
            backend, device, manifest, model_sha256 = "short", "cpu", session.manifest, ""

            def run(self, batch: np.ndarray) -> np.ndarray:
                return batch[:, 0]

        expected = (
            r"expected float32 probabilities \(2, 1, 192, 192\), backend 'short' returned float32 \(2, 192"
        )
        with pytest.raises(ModelError, match=expected):
            run_checked(Short(), BATCH)  # type: ignore[arg-type]


def test_default_model_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFNET_MODEL", "/somewhere/mine.onnx")
    assert default_model() == Path("/somewhere/mine.onnx")


def test_usable_cores_is_a_sane_number() -> None:
    import os

    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_a_sigmoid_that_overshoots_by_rounding_is_clipped(model: Path) -> None:
    with open_session(model) as session:

        class Overshooting:
            backend, device, manifest, model_sha256 = "fast", "cpu", session.manifest, ""

            def run(self, batch: np.ndarray) -> np.ndarray:
                output = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
                output[0, 0, 0, :2] = np.nextafter(np.float32(1), np.float32(2)), -1e-7
                return output

        probability = run_checked(Overshooting(), BATCH)  # type: ignore[arg-type]
        assert probability.max() == 1
        assert probability.min() == 0
