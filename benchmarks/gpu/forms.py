"""The forms of a model that the scripts run, made where they run: only the plain file has to travel."""

import argparse
from pathlib import Path

import onnx

from infnet_export.graph.onnx_file import model_bytes, read_onnx
from infnet_export.precision.choice import keep_of, kept_in_words
from infnet_export.precision.float16 import to_float16
from infnet_export.tensorrt.builder import EngineSettings
from infnet_export.tensorrt.engine import build_engine
from infnet_runtime.backends.tensorrt.library import Package
from infnet_runtime.backends.tensorrt.sidecar import BatchRange

BATCHES = BatchRange(1, 8, 32)
FORMS = ("fp32", "fp16", "rtx", "trt")
_PACKAGES = {"rtx": Package.RTX, "trt": Package.TENSORRT}


def form(name: str, options: argparse.Namespace) -> Path:
    """The file of a form; what is not there yet is made, which for an engine takes minutes."""
    plain: Path = options.model
    if name == "fp32":
        return plain
    half: Path = options.work / f"{plain.stem}.fp16.onnx"
    if not half.is_file():
        model, _ = read_onnx(plain)
        _write(half, model_bytes(to_float16(model, keep_of(model))[0]))
    if name == "fp16":
        return half
    engine: Path = options.work / f"{plain.stem}.{name}.plan"
    if not engine.is_file():
        settings = EngineSettings(package=_PACKAGES[name], batch=BATCHES, timing_cache=options.work)
        build_engine(half, engine, settings, kept_in_fp32=kept_in_words(keep_of(onnx.load(plain)), [1]))
    return engine


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
