"""Which shipped model a backend gets on a processor, and that the choice is said."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import infnet_runtime.backends.candidates as candidates_module
import infnet_runtime.backends.suited_model as suited_module
import infnet_runtime.model.shipped as shipped_module
from half_model import half_form, plain_file
from infnet_runtime import cpu
from infnet_runtime.backends.candidates import Candidate
from infnet_runtime.backends.open import open_chosen, open_session
from infnet_runtime.backends.suited_model import suited_model
from infnet_runtime.errors import ModelError
from infnet_runtime.model.shipped import default_model
from tiny_models import mid_grey_detector, recorded

Processor = Callable[[str], None]
"""Makes this processor one with these flags."""

FLOAT, INT8 = "infnet.onnx", "infnet.int8.onnx"
NO_HALF = "there is no infnet.fp16.onnx; infnet-export --fp16 --verify VOLUMES makes one"

AMX = "avx2 avx512f avx512_vnni amx_int8"
VNNI = "avx2 avx_vnni"
AVX2 = "avx2"
ARM = "asimd asimddp"
"""Flags as Linux names them; '' for what is not known."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships both."""
    folder = tmp_path / "package" / "models"
    folder.mkdir(parents=True)
    model = mid_grey_detector(tmp_path / "model.onnx").read_bytes()
    for name in (FLOAT, INT8):
        (folder / name).write_bytes(model)
    monkeypatch.delenv("INFNET_MODEL", raising=False)
    monkeypatch.setattr(shipped_module, "__file__", str(folder.parent / "model" / "shipped.py"))
    return folder


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Processor:
    def is_one_with(flags: str) -> None:
        for module in (cpu, suited_module):
            monkeypatch.setattr(module, "cpu_flags", lambda: frozenset(flags.split()))

    return is_one_with


@pytest.mark.parametrize(
    ("candidate", "flags", "expected", "why"),
    [
        (Candidate("onnxruntime", "cpu"), AMX, INT8, "the processor has amx_int8"),
        (Candidate("openvino", "cpu"), AMX, INT8, "the processor has amx_int8"),
        (Candidate("onnxruntime", "cpu"), VNNI, INT8, "the processor has avx_vnni"),
        (Candidate("openvino", "cpu"), VNNI, INT8, "the processor has avx_vnni"),
        # Measured: it passes the gate, and takes 0.55 of the time.
        (Candidate("openvino", "cpu"), AVX2, INT8, "the processor has avx2"),
        (
            Candidate("onnxruntime", "cpu"),
            AVX2,
            FLOAT,
            "the processor has no unit for 8-bit products that onnxruntime uses",
        ),
        (Candidate("onnxruntime", "cpu"), ARM, INT8, "the processor has asimddp"),
        (
            Candidate("openvino", "cpu"),
            ARM,
            FLOAT,
            "the processor has no unit for 8-bit products that openvino uses",
        ),
        (
            Candidate("openvino", "cpu"),
            "",
            FLOAT,
            "the processor has no unit for 8-bit products that openvino uses",
        ),
        (Candidate("onnxruntime", "cuda"), AMX, FLOAT, NO_HALF),
    ],
)
def test_the_shipped_model_suits_backend_and_processor(
    candidate: Candidate, flags: str, expected: str, why: str, models: Path, processor: Processor
) -> None:
    processor(flags)
    assert suited_model(candidate) == (models / expected, why)


def test_a_gpu_takes_the_fp16_form_that_passed_and_the_cpu_does_not(
    models: Path, processor: Processor
) -> None:
    processor("")
    plain_file(models / FLOAT)
    half = models / "infnet.fp16.onnx"
    half.write_bytes(half_form(models / FLOAT))
    on_gpu, on_cpu = Candidate("onnxruntime", "cuda"), Candidate("onnxruntime", "cpu")
    assert suited_model(on_gpu)[0] == models / FLOAT, "it says of no scan that it passed"
    recorded(half, passed=("float16",))
    why = "its masks in FP16 agree by a Dice of 0.99 on 3 scans"
    assert suited_model(on_gpu) == (half, why)
    assert suited_model(on_gpu, precision="f32") == (models / FLOAT, "single precision was asked for")
    assert suited_model(on_cpu)[0] == models / FLOAT


def test_where_no_8_bit_model_was_shipped(models: Path, processor: Processor) -> None:
    processor(AMX)
    (models / INT8).unlink()
    candidate = Candidate("openvino", "cpu")
    assert suited_model(candidate) == (models / FLOAT, "no 8-bit model was shipped")


def test_a_model_that_the_environment_names_is_used(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_model() == models / FLOAT
    monkeypatch.setenv("INFNET_MODEL", "mine.onnx")
    for candidate in (Candidate("openvino", "cpu"), Candidate("onnxruntime", "cuda")):
        assert suited_model(candidate) == (Path("mine.onnx"), "")
    with pytest.raises(ModelError, match=r"no model at mine.onnx"):
        open_session(device="cpu")


def test_log_and_report_say_which_model_and_why(
    models: Path,
    processor: Processor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    processor(AMX)
    with caplog.at_level("INFO"):
        session, choice = open_chosen(device="cpu")
    session.close()
    assert "model infnet.int8.onnx, the processor has amx_int8" in choice
    assert choice in caplog.text


def test_the_model_follows_the_backend_that_is_left(
    models: Path,
    processor: Processor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenVINO would have taken 8 bit here; what runs in its place takes what suits it."""
    for name in ("openvino", "onnxruntime"):
        pytest.importorskip(name)
    processor(AVX2)
    monkeypatch.setattr(candidates_module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(candidates_module, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    session, choice = open_chosen(device="cpu")
    session.close()
    assert session.backend.startswith("onnxruntime ")
    assert "model infnet.onnx, the processor has no unit for 8-bit products that onnxruntime uses" in choice
