"""Precision is stated: by name it is used or refused, by itself it is bf16 only where the file bears it.

OpenVINO is real here, and what it says of the processor is not: a core that lists bf16, compiles in single
precision and says that it compiled what it was asked for.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infnet_runtime
from infnet_runtime.backends import open_session
from infnet_runtime.backends.candidates import OPENVINO, candidates
from infnet_runtime.backends.openvino import OpenVinoSession, can_bf16, load_openvino
from infnet_runtime.backends.ort.cpu import ARM_BF16, session_options
from infnet_runtime.backends.precision import check_used
from infnet_runtime.errors import BackendError, ModelError
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import SIZE, alone, mid_grey_detector, recorded

openvino = pytest.importorskip("openvino")
Pretend = Callable[..., list[dict[str, Any]]]


class Compiled:
    """A real compiled model that names another precision than its own."""

    def __init__(self, real: Any, used: str) -> None:  # noqa: ANN401 - untyped library
        self._real, self._used = real, used

    def get_property(self, _: str) -> object:
        return getattr(openvino.Type, self._used)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Let OpenVINO list capabilities; gives the settings of each model that is compiled."""

    def as_if(*capabilities: str, default: str = "f32", used: str | None = None) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []
        compile_model = openvino.Core.compile_model

        def compiled(core: object, graph: object, device: str, settings: dict[str, Any]) -> Compiled:
            asked.append(settings)
            wanted = settings.get("INFERENCE_PRECISION_HINT", default)
            plain = {**settings, "INFERENCE_PRECISION_HINT": "f32"}
            return Compiled(compile_model(core, graph, device, plain), used or wanted)

        monkeypatch.setenv("INFNET_CACHE", "off")  # what is compiled here is not what it says
        monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8", *capabilities])
        monkeypatch.setattr(openvino.Core, "compile_model", compiled)
        return asked

    return as_if


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


def hint(asked: list[dict[str, Any]]) -> str:
    (settings,) = asked
    return str(settings["INFERENCE_PRECISION_HINT"])


def test_auto_takes_bf16_where_the_file_bears_it(model: Path, pretend: Pretend) -> None:
    asked = pretend("BF16")
    with open_session(recorded(model), backend="openvino") as session:
        assert session.precision == "bf16"
        assert session.backend.endswith("(CPU, bf16)")
    assert hint(asked) == "bf16"


def test_auto_without_a_record_is_f32_and_says_why(
    model: Path, pretend: Pretend, caplog: pytest.LogCaptureFixture
) -> None:
    asked = pretend("BF16")
    with caplog.at_level(logging.INFO), open_session(model, backend="openvino") as session:
        assert session.precision == "float32"
    assert hint(asked) == "f32"
    assert "precision auto: f32, [INF-4060]" in caplog.text
    assert "model model.onnx; computing in float32" in caplog.text


@pytest.mark.parametrize("text", ["{", '{"subject_sha256": "0", "passed": {}}'])
def test_auto_with_a_record_that_says_nothing_is_f32(model: Path, pretend: Pretend, text: str) -> None:
    asked = pretend("BF16")
    with open_session(recorded(model, text), backend="openvino") as session:
        assert session.precision == "float32"
    assert hint(asked) == "f32"


def test_without_units_auto_is_f32(model: Path, pretend: Pretend) -> None:
    asked = pretend("WINOGRAD")  # listed with AVX-512, where bf16 would be imitated
    with open_session(recorded(model), backend="openvino") as session:
        assert session.precision == "float32"
    assert hint(asked) == "f32"


def test_bf16_by_name_is_used_or_refused(model: Path, pretend: Pretend) -> None:
    asked = pretend("BF16")
    with pytest.raises(ModelError, match="INF-4060"):
        open_session(model, backend="openvino", precision="bf16")
    assert asked == []
    with open_session(recorded(model), precision="bf16") as session:  # also finds the backend that has it
        assert session.precision == "bf16"
        assert session.backend.startswith("openvino ")
    pretend()
    with pytest.raises(
        BackendError, match=r"INF-5040\] precision bf16 was asked for, and this processor has no"
    ):
        open_session(model, precision="bf16")


def test_f32_by_name_is_f32_whatever_the_file_bears(model: Path, pretend: Pretend) -> None:
    asked = pretend("BF16")
    with open_session(recorded(model), backend="openvino", precision="f32") as session:
        assert session.precision == "float32"
    assert hint(asked) == "f32"


def test_another_precision_than_the_one_asked_for_is_refused(model: Path, pretend: Pretend) -> None:
    """OpenVINO itself computes in f32, without a word, where it has no bf16."""
    pretend("BF16", used="f32")
    with pytest.raises(
        BackendError, match=r"INF-5016\] OpenVINO was asked to compute in bf16 and would .* in f32"
    ):
        open_session(recorded(model), backend="openvino", precision="bf16")


def test_half_precision_of_arm_never_comes_unasked(model: Path, pretend: Pretend) -> None:
    """There OpenVINO takes f16 where nothing is stated."""
    asked = pretend("FP16", default="f16")
    with open_session(recorded(model), backend="openvino") as session:
        assert session.precision == "float32"
    assert hint(asked) == "f32"


def test_fast_products_of_arm_in_onnx_runtime_stay_off() -> None:
    assert session_options(1).get_session_config_entry(ARM_BF16) == "0"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "onnxruntime"}, "ONNX Runtime has no such setting; choose --backend openvino with"),
        ({"device": "cuda"}, "device 'cuda' has no such setting"),
        ({"model": Path("m.plan")}, "a TensorRT engine has no such setting"),
    ],
)
def test_what_has_no_bf16_refuses_it(options: dict[str, Any], told: str) -> None:
    with pytest.raises(BackendError, match=rf"INF-5041\] precision bf16 was asked for, and {told}"):
        candidates(**{"model": None, **options}, precision="bf16")


def test_a_precision_that_is_none() -> None:
    with pytest.raises(
        BackendError, match=r"INF-5043\] precision 'f16' is not known, expected auto, f32, bf16"
    ):
        candidates(None, backend=OPENVINO, precision="f16")


def test_f32_is_not_given_by_an_engine_in_half() -> None:
    class Engine:
        backend, precision, closed = "tensorrt 10.13 (GPU)", "float16", False

        def close(self) -> None:
            self.closed = True

    engine: Any = Engine()
    with pytest.raises(
        BackendError, match=r"INF-5042\] precision f32 was asked for, and tensorrt .* in float16;"
    ):
        check_used(engine, "f32")
    assert engine.closed
    check_used(engine, "auto")


def test_the_report_names_it(model: Path, pretend: Pretend) -> None:
    pretend("BF16")
    phantom = chest_phantom()
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    for precision, named in (("auto", "bf16"), ("f32", "float32")):
        with infnet_runtime.load(
            recorded(model), backend="openvino", threads=1, precision=precision
        ) as loaded:
            assert loaded.predict(scan).provenance.precision == named


def test_bf16_does_not_depend_on_the_batch_and_differs_from_f32(model: Path) -> None:
    """On a processor that has it; the same bytes for any number of slices, and really another precision."""
    if not can_bf16(load_openvino().Core()):
        pytest.skip("this processor has no units for bf16")
    batch = np.random.default_rng(0).standard_normal((5, 3, SIZE, SIZE), np.float32)
    with OpenVinoSession(recorded(model), threads=1, precision="bf16") as session:
        whole = alone(session, batch)
        assert (
            np.concatenate([alone(session, batch[:4]), alone(session, batch[4:])]).tobytes()
            == whole.tobytes()
        )
