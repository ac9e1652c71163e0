"""From a checkpoint to a model file, checked before it gets its name."""

import dataclasses
import hashlib
import importlib.metadata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import onnx
import torch

from infnet_export.half_weights import HalfReport, with_half_weights
from infnet_export.inference_module import inference_module
from infnet_export.onnx_graph import check_model, model_bytes, onnx_model, operators
from infnet_export.parity import (
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    FloatArray,
    Parity,
    check_parity,
    measure_parity,
    phantom_input,
)
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.manifest import ModelManifest, OutputSpec
from infnet_train.trained import TrainedNetwork


class WeightStorage(StrEnum):
    """Precision of the weights in the file; arithmetic is FP32 with both."""

    FP16 = "fp16"
    FP32 = "fp32"


_TOLERANCES = {WeightStorage.FP16: FP16_TOLERANCE, WeightStorage.FP32: FP32_TOLERANCE}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the person who exports says; see :class:`~infnet_runtime.manifest.ModelManifest`."""

    name: str = "inf-net"
    version: str = "0.1.0"
    licence: str = "not stated"
    training_data: str = "not stated"
    threshold: float = OutputSpec().threshold
    temperature: float = OutputSpec().temperature


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Parameters
    ----------
    sha256
        Of the file.
    operators
        Operator to count.
    half
        What rounding the weights did; absent for weights stored as FP32.
    """

    path: Path
    bytes: int
    sha256: str
    operators: dict[str, int]
    half: HalfReport | None
    parity: Parity
    manifest: ModelManifest

    def to_plain(self) -> dict[str, object]:
        """Values that JSON can hold."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def export_model(
    trained: TrainedNetwork,
    output: Path,
    card: ModelCard,
    *,
    weights: WeightStorage = WeightStorage.FP16,
    slices: FloatArray | None = None,
) -> ExportReport:
    """Write a model file whose parity with the network was measured.

    The same checkpoint, card and package versions give the same bytes.

    Parameters
    ----------
    output
        The ONNX file. A file of that name is replaced only when every check has passed.
    slices : (n, 3, size, size)
        Network input to compare on; the synthetic slices where absent.

    Raises
    ------
    GateError
        If a weight is too large for half precision or the file is too far from the network.
    OutputError
        If the file cannot be written.
    """
    manifest = manifest_of(trained, card)
    if slices is None:
        slices = phantom_input(trained.preprocess)
    with atomic_write(output) as file:  # opened first, so that a wrong folder is told at once
        model = onnx_model(inference_module(trained.network), manifest)
        half = None
        if weights is WeightStorage.FP16:
            model, half = with_half_weights(model)
            check_model(model)
        content = model_bytes(model)
        parity = measure_parity(content, trained.network, slices, manifest)
        check_parity(parity, _TOLERANCES[weights])
        file.write(content)
    return ExportReport(
        path=output,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        operators=operators(model),
        half=half,
        parity=parity,
        manifest=manifest,
    )


def manifest_of(trained: TrainedNetwork, card: ModelCard) -> ModelManifest:
    """The manifest that travels in the file."""
    return ModelManifest(
        name=card.name,
        version=card.version,
        licence=card.licence,
        training_data=card.training_data,
        weights_sha256=trained.weights_sha256,
        preprocess=trained.preprocess,
        output=OutputSpec(threshold=card.threshold, temperature=card.temperature),
        created_with={"infnet": _own_version(), "torch": str(torch.__version__), "onnx": onnx.__version__},
    )


def _own_version() -> str:
    try:
        return importlib.metadata.version("infnet")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
