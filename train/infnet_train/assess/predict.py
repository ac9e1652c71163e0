"""A trained network on slices: at network size in batches, or one by one at their own sizes."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.slices.preprocess import normalise_planes, predict_slice
from infnet_train.data.datasets import LabelledSlices
from infnet_train.machine.device import choose_device
from infnet_train.networks import Network, Outputs
from infnet_train.weights.trained import read_network

_BATCH = 8
_SMALL = 64  # pixels: the side of an empty slice


def input_batches(
    slices: LabelledSlices, spec: PreprocessSpec, device: str
) -> Iterator[tuple[slice, Tensor]]:
    """Network input of all slices, a few at a time: which of them, and (n, 3, size, size)."""
    for start in range(0, len(slices), _BATCH):
        part = slice(start, start + _BATCH)
        images = torch.from_numpy(normalise_planes(slices.grey(part), spec))
        yield part, images.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def outputs_of(network: Network, images: Tensor, *, bf16: bool = False) -> Outputs:
    """What a network in evaluation mode says of network input, in single precision."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        outputs: Outputs = network(images)
    return outputs.to_float()


@torch.no_grad()
def logits_of(network: Network, images: Tensor, *, bf16: bool = False) -> Tensor:
    """What a network in evaluation mode predicts: (n, 3, h, w) to logits in single precision, (n, h, w)."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        outputs: Outputs = network(images)
    return outputs.prediction.float()[:, 0]


@torch.no_grad()
def tells_classes(model: Network, channels: int, device: str) -> bool:
    """Whether a network says classes; it is asked about an empty slice, and stays as it was."""
    training = {module: module.training for module in model.modules()}
    outputs: Outputs = model.eval()(torch.zeros(1, channels, _SMALL, _SMALL, device=device))
    for module, was in training.items():
        module.training = was
    return outputs.classes is not None


def weights_path(model: Path) -> Path:
    """The weights of a run, given by its folder or by themselves."""
    return model / "weights.safetensors" if model.is_dir() else model


def network_runner(network: Network, device: str) -> Callable[[FloatArray], FloatArray]:
    """Network input (n, 3, size, size) to probability (n, size, size), refusing what is not finite."""
    network.to(device).eval()

    def run(batch: FloatArray) -> FloatArray:
        probability = torch.sigmoid(logits_of(network, torch.from_numpy(batch).to(device)))
        if not torch.isfinite(probability).all():
            raise GateError("the network returned probabilities that are not finite", code=7020)
        return np.asarray(probability.cpu().numpy(), np.float32)

    return run


@dataclass(frozen=True)
class OpenModel:
    """A model file ready for slices, whatever its kind.

    Parameters
    ----------
    sha256
        Hash of the file.
    output
        Threshold and temperature: the model's own, the defaults for training weights.
    run
        Network input (n, 3, size, size) to the network's own probability (n, size, size).
    """

    sha256: str
    device: str
    preprocess: PreprocessSpec
    output: OutputSpec
    run: Callable[[FloatArray], FloatArray]

    def predict(self, grey: ByteArray) -> FloatArray:
        """Calibrated probability of one slice, (rows, columns)."""
        return predict_slice(grey, self.preprocess, self.run, temperature=self.output.temperature)

    def predict_uncalibrated(self, grey: ByteArray) -> FloatArray:
        """The network's own probability of one slice, (rows, columns)."""
        return predict_slice(grey, self.preprocess, self.run)


@contextmanager
def open_model(model: Path, device: str, *, purpose: str) -> Iterator[OpenModel]:
    """Open weights, the folder of a run, the authors' ``.pth`` or an ONNX file.

    Parameters
    ----------
    device
        As of :func:`~infnet_train.assess.evaluate.evaluate_file`.
    purpose
        What the model is opened for, for messages: a verb.
    """
    if model.suffix.lower() == ".onnx":
        # Scores and temperatures do not depend on the units that a processor has; a GPU has no such setting.
        precision = "auto" if device.startswith("cuda") else "f32"
        with open_session(model, device=device, precision=precision) as session:
            manifest = session.manifest
            yield OpenModel(
                session.model_sha256,
                session.device,
                manifest.preprocess,
                manifest.output,
                partial(infection_probability, session),
            )
        return
    path = weights_path(model)
    trained, used = read_network(path, purpose=purpose), choose_device(device)
    if trained.config.prior:
        raise ModelError(
            f"{model} holds a {trained.config.network} that is given the infection beside the slice, so "
            f"there is nothing to {purpose} alone; score it by infnet-train eval --classes DIR --prior MODEL",
            code=4143,
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    yield OpenModel(digest, used, trained.preprocess, OutputSpec(), network_runner(trained.network, used))
