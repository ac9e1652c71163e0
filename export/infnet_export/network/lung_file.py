"""From trained weights to the file of the lung network: FP32 in and out, large weights stored as FP16."""

import hashlib
import importlib.metadata
from pathlib import Path

import onnx
import torch
from onnx import helper

from infnet_export.graph.onnx_file import check_model
from infnet_export.network.tracing import traced_graph
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.errors import ModelError
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY, LUNG_OUTPUT, LungManifest
from infnet_runtime.version import __version__
from infnet_train.networks.lung_net import LungNet, LungProbabilities
from infnet_train.weights.checkpoint import fill_weights, read_checkpoint

_PACKAGES = ("torch", "onnx", "onnxscript")


def lung_model(
    weights: Path,
    *,
    name: str = "infnet-lungs",
    version: str = "0.1.0",
    licence: str = "not stated",
    training_data: str = "not stated",
    metrics: dict[str, float] | None = None,
) -> onnx.ModelProto:
    """The model file of a trained lung network.

    Parameters
    ----------
    weights
        ``weights.safetensors`` or ``last.safetensors`` of a run.

    Returns
    -------
    Input ``slices`` (n, 3, size, size) grey 0..1, output ``lungs`` (n, 2, size, size), batch free.

    Raises
    ------
    ModelError
        If the checkpoint is missing, damaged, of another network, or not finite.
    """
    checkpoint = read_checkpoint(weights)
    network = LungNet()
    fill_weights(network, checkpoint, weights)
    bad = [key for key, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{weights} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
    manifest = LungManifest(
        name=name,
        version=version,
        licence=licence,
        training_data=training_data,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        created_with={"infnet": __version__}
        | {package: importlib.metadata.version(package) for package in _PACKAGES},
        metrics=metrics or {},
    )
    module = LungProbabilities(network).eval()
    model = traced_graph(module, manifest.spec.size, [LUNG_OUTPUT])
    helper.set_model_props(model, {LUNG_METADATA_KEY: manifest.to_json()})
    half, _ = with_half_weights(model)
    check_model(half)
    return half
