"""A network on labelled slices: quickly during a run, and by both protocols of the metrics afterwards."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.errors import GateError
from infnet_runtime.metrics import SliceScores, score_slices
from infnet_runtime.metrics.clinical import Estimate
from infnet_runtime.model.manifest import OutputSpec, PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_runtime.slices.preprocess import normalise, predict_slice
from infnet_runtime.slices.temperature import without_temperature
from infnet_runtime.version import __version__
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.pictures import Turn, read_labelled
from infnet_train.machine.device import choose_device
from infnet_train.networks import Network
from infnet_train.weights.trained import read_network

_BATCH = 8
# The columns of the paper's Tables II and III, and what a reader of masks asks for.
_PAPER = ("mean_dice", "mean_sensitivity", "mean_specificity", "s_measure", "mean_e_measure", "mae")
_CLINICAL = ("dice", "sensitivity", "precision", "specificity")


def mean_dice(
    model: Network, slices: LabelledSlices, spec: PreprocessSpec, device: str, *, bf16: bool = False
) -> float:
    """Mean over the slices of the Dice at probability 0.5, at network size; 1 where both are empty."""
    model.eval()
    scores: list[float] = []
    for start in range(0, len(slices), _BATCH):
        part = slice(start, start + _BATCH)
        grey = slices.images[part].astype(np.float32) / np.float32(255)
        images = torch.from_numpy(normalise(grey, spec)).to(device, memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            found = (model(images).prediction >= 0).cpu().numpy()[:, 0]
        truth = slices.masks[part] > 127
        overlap = (found & truth).sum((1, 2))
        sizes = found.sum((1, 2)) + truth.sum((1, 2))
        scores += [2 * o / s if s else 1.0 for o, s in zip(overlap, sizes, strict=True)]
    return float(np.mean(scores))


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model file on a folder, with what is needed to quote them.

    Parameters
    ----------
    model_sha256
        Hash of the file.
    threshold
        Of the clinical protocol: the model's own, 0.5 for training weights.
    """

    model: str
    model_sha256: str
    device: str
    data: str
    turn: Turn
    preprocess: PreprocessSpec
    threshold: float
    scores: SliceScores

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        clinical = self.scores.clinical
        assert self.scores.paper
        paper = self.scores.paper.to_dict()
        return {
            "schema": "infnet.evaluation/1",
            "infnet": __version__,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "data": self.data,
            "turn": self.turn,
            "preprocess": to_plain(self.preprocess),
            "slices": len(clinical.volumes),
            "paper": {"protocol": "paper", **{name: paper[name] for name in _PAPER}},
            "clinical": {
                "protocol": clinical.to_dict()["protocol"],
                "level": "mean over slices",
                **{name: asdict(getattr(clinical.per_slice, name)) for name in _CLINICAL},
            },
        }

    def to_text(self) -> str:
        """A short table for each protocol."""
        values = self.to_dict()
        protocol = self.scores.clinical.protocol
        return "\n".join(
            [
                f"model     {self.model}, sha256 {self.model_sha256[:12]}, on {self.device}",
                f"slices    {values['slices']} of {self.data}, turn {self.turn}",
                "paper     uncalibrated maps, each stretched to 0..1, mean over 256 thresholds",
                *(f"  {name:<17} {values['paper'][name]:.4f}" for name in _PAPER),
                f"clinical  threshold {self.threshold:g}, both empty counts as 1, mean over slices",
                f"  {'':<17} value   std. error  {protocol.confidence:.0%} interval",
                *(
                    f"  {name:<17} {_row(getattr(self.scores.clinical.per_slice, name))}"
                    for name in _CLINICAL
                ),
            ]
        )


def evaluate_file(model: Path, data: Path, *, turn: Turn = "none", device: str = "auto") -> Evaluation:
    """Score a model on a folder: each slice whole at network size, its probability back at its own size.

    Parameters
    ----------
    model
        A checkpoint of a run (.safetensors) or the folder of the run, the authors' ``.pth``, or an ONNX file.
    data
        A folder with ``Imgs`` and ``GT``; labels above 128 are infection, as in the authors' tool.
    turn
        What turns a slice upright.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.

    Raises
    ------
    InfnetError
        If model, device or data are refused, or a probability is not finite.
    """
    slices = read_labelled(data, turn)
    with open_model(model, device, purpose="evaluate") as opened:
        temperature = opened.output.temperature
        scores = score_slices(
            slices,
            opened.predict,
            threshold=opened.output.threshold,
            paper_map=lambda probability: without_temperature(probability, temperature),
        )
    return Evaluation(
        str(model),
        opened.sha256,
        opened.device,
        str(data),
        turn,
        opened.preprocess,
        opened.output.threshold,
        scores,
    )


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


@contextmanager
def open_model(model: Path, device: str, *, purpose: str) -> Iterator[OpenModel]:
    """Open weights, the folder of a run, the authors' ``.pth`` or an ONNX file; parameters as above.

    Parameters
    ----------
    purpose
        What the model is opened for, for messages: a verb.
    """
    if model.suffix.lower() == ".onnx":
        with open_session(model, device=device) as session:
            manifest = session.manifest
            yield OpenModel(
                session.model_sha256,
                session.device,
                manifest.preprocess,
                manifest.output,
                partial(infection_probability, session),
            )
        return
    path = model / "weights.safetensors" if model.is_dir() else model
    trained, used = read_network(path, purpose=purpose), choose_device(device)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    yield OpenModel(digest, used, trained.preprocess, OutputSpec(), network_runner(trained.network, used))


def network_runner(network: Network, device: str) -> Callable[[FloatArray], FloatArray]:
    """Network input (n, 3, size, size) to probability (n, size, size), refusing what is not finite."""
    network.to(device).eval()

    @torch.no_grad()
    def run(batch: FloatArray) -> FloatArray:
        probability = torch.sigmoid(network(torch.from_numpy(batch).to(device)).prediction)[:, 0]
        if not torch.isfinite(probability).all():
            raise GateError("the network returned probabilities that are not finite", code=7020)
        return np.asarray(probability.cpu().numpy(), np.float32)

    return run


def _row(estimate: Estimate) -> str:
    if estimate.value is None:
        return "no slice has a value"
    if estimate.standard_error is None:
        return f"{estimate.value:.4f}  (one slice, no interval)"
    return f"{estimate.value:.4f}  {estimate.standard_error:.4f}      {estimate.low:.4f}..{estimate.high:.4f}"
