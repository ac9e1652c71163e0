"""From a trained network to the content of a model file, and what that file is compared with."""

import importlib.metadata
from enum import StrEnum

import onnx
import torch

from infnet_export.graph.onnx_file import check_model, model_bytes
from infnet_export.make.card import ModelCard
from infnet_export.make.start import Start
from infnet_export.network.exportable import inf_net_of
from infnet_export.network.inf_net.inference_module import inference_module
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.network.tracing import onnx_model
from infnet_export.precision.half_weights import HalfReport, with_half_weights
from infnet_export.proof.parity import EXACT, FP16_TOLERANCE, FP32_TOLERANCE
from infnet_export.proof.parity_report import Form
from infnet_runtime.model.manifest import ModelManifest, OutputSpec
from infnet_train.weights.trained import TrainedNetwork


class WeightStorage(StrEnum):
    """Precision of the weights in the file; arithmetic is FP32 with both."""

    FP16 = "fp16"
    FP32 = "fp32"


_TOLERANCES = {WeightStorage.FP16: FP16_TOLERANCE, WeightStorage.FP32: FP32_TOLERANCE}


def start_from_network(
    trained: TrainedNetwork, file_name: str, card: ModelCard, weights: WeightStorage = WeightStorage.FP16
) -> tuple[Start, HalfReport | None]:
    """Begin with a trained network, which is compared with every file in double precision.

    The same checkpoint, card and package versions give the same bytes.

    Parameters
    ----------
    file_name
        Of the files, without ending.

    Returns
    -------
    The start, and what rounding the weights did; None for weights stored as FP32.

    Raises
    ------
    GateError
        If a weight is too large for half precision.
    """
    manifest, network = manifest_of(trained, card), inf_net_of(trained)
    model = onnx_model(inference_module(network), manifest)
    half = None
    if weights is WeightStorage.FP16:
        model, half = with_half_weights(model)
        check_model(model)
    single = Form(
        "PyTorch, FP32",
        lambda slices: network_probabilities(network, slices, torch.float32),
        EXACT,
        "rounding of FP32",
    )
    start = Start(
        name=file_name,
        content=model_bytes(model),
        manifest=manifest,
        allowed=_TOLERANCES[weights],
        reference="the trained network in double precision",
        exact=lambda slices: network_probabilities(network, slices),
        others=(single,),
    )
    return start, half


def manifest_of(trained: TrainedNetwork, card: ModelCard) -> ModelManifest:
    """The manifest that travels in the file."""
    return ModelManifest(
        name=card.name,
        version=card.version,
        licence=card.licence,
        training_data=card.training_data,
        weights_sha256=trained.weights_sha256,
        preprocess=trained.preprocess,
        outputs=(OutputSpec(thresholds=(card.threshold,), temperature=card.temperature),),
        metrics=card.metrics,
        created_with={"infnet": _own_version(), "torch": str(torch.__version__), "onnx": onnx.__version__},
    )


def _own_version() -> str:
    try:
        return importlib.metadata.version("infnet")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
