"""From a trained network to the content of a model file, and what that file is compared with."""

from dataclasses import replace
from enum import StrEnum

import onnx
import torch

from infnet_export.graph.onnx_file import check_model, model_bytes
from infnet_export.make.card import ModelCard
from infnet_export.make.start import Start
from infnet_export.network.exportable import exporter_of
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.network.tracing import onnx_model
from infnet_export.precision.half_weights import HalfReport, with_half_weights
from infnet_export.precision.notes import with_notes
from infnet_export.proof.parity_report import Form
from infnet_runtime.metrics.parity import EXACT, FP16_TOLERANCE, FP32_TOLERANCE
from infnet_runtime.model.manifest import (
    CONTRACT_VERSION,
    READ_VERSIONS,
    ModelManifest,
    OutputSpec,
    PreprocessSpec,
)
from infnet_runtime.model.specs import EQUAL
from infnet_runtime.version import __version__
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
    manifest, exporter, network = manifest_of(trained, card), exporter_of(trained), trained.network
    model = onnx_model(exporter.inference(network), manifest)
    if exporter.notes:
        model = with_notes(model, exporter.notes)
    half = None
    if weights is WeightStorage.FP16:
        model, half = with_half_weights(model)
        check_model(model)
    single = Form(
        "PyTorch, FP32",
        lambda slices: network_probabilities(network, exporter, slices, torch.float32),
        EXACT,
        "rounding of FP32",
    )
    start = Start(
        name=file_name,
        content=model_bytes(model),
        manifest=manifest,
        allowed=_TOLERANCES[weights],
        reference="the trained network in double precision",
        exact=lambda slices: network_probabilities(network, exporter, slices),
        others=(single,),
    )
    return start, half


def manifest_of(trained: TrainedNetwork, card: ModelCard) -> ModelManifest:
    """The manifest that travels in the file."""
    outputs = tuple(_as_on_card(o, card) if o.has_infection else o for o in exporter_of(trained).outputs)
    preprocess = trained.preprocess
    if card.slices_alone:
        preprocess = replace(preprocess, channels=EQUAL, neighbour_step_mm=0.0)
    return ModelManifest(
        name=card.name or trained.kind,
        version=card.version,
        licence=card.licence,
        training_data=card.training_data,
        weights_sha256=trained.weights_sha256,
        preprocess=preprocess,
        outputs=outputs,
        contract_version=_oldest_contract(outputs, preprocess),
        metrics=card.metrics,
        created_with={"infnet": __version__, "torch": str(torch.__version__), "onnx": onnx.__version__},
    )


def _as_on_card(output: OutputSpec, card: ModelCard) -> OutputSpec:
    thresholds = list(output.thresholds)
    thresholds[output.infection_channel] = card.threshold
    return replace(output, thresholds=tuple(thresholds), temperature=card.temperature)


def _oldest_contract(outputs: tuple[OutputSpec, ...], preprocess: PreprocessSpec) -> int:
    """The first that can say it, so that older versions run what they can."""
    simple = len(outputs) == len(outputs[0].classes) == 1 and preprocess.channels == EQUAL
    return CONTRACT_VERSION if simple else READ_VERSIONS[-1]
