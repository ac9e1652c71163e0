"""A trained system ready for slices, from the folder of its run or an ONNX file: infection and classes."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import (
    ClosedByBlock,
    Outputs,
    classes_of,
    infection_probability,
    run_checked,
)
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.specs import OutputSpec, PreprocessSpec
from infnet_runtime.slices.preprocess import from_network, normalise, resize
from infnet_train.assess.priors import read_prior
from infnet_train.machine.device import choose_device
from infnet_train.networks import CLASSES, Network
from infnet_train.networks.guided import Guided
from infnet_train.weights.checkpoint import read_state
from infnet_train.weights.trained import read_network

WEIGHTS = "weights.safetensors"

Run = Callable[[FloatArray], tuple[FloatArray, FloatArray | None]]
"""Network input (n, 3, size, size) to infection (n, size, size) and classes (n, 2, size, size), 0..1."""


@dataclass(frozen=True)
class Opened:
    """A system ready for slices.

    Parameters
    ----------
    how
        What is known of its training, for the table.
    session
        The same for whole scans: infection alone.
    """

    sha256: str
    device: str
    how: dict[str, Any]
    preprocess: PreprocessSpec
    output: OutputSpec
    run: Run
    session: Session

    def predict(self, grey: ByteArray) -> tuple[FloatArray, FloatArray | None]:
        """Infection (rows, columns) and classes (2, rows, columns) of a slice, at its own size.

        Not calibrated: the threshold of the clinical protocol is 0.5 on both sides of a temperature.
        """
        size = self.preprocess.size
        batch = normalise(resize(grey[None].astype(np.float32) / 255, size, size), self.preprocess)
        infection, classes = self.run(batch)
        back = [infection] if classes is None else [infection, classes[0]]
        found = [np.clip(from_network(part, *grey.shape), 0, 1).astype(np.float32) for part in back]
        return found[0][0], None if classes is None else found[1]


def class_masks(infection: FloatArray, classes: FloatArray, threshold: float = 0.5) -> dict[str, BoolArray]:
    """The mask of each class by the rule of ``infnet-infer --classes``.

    A pixel has a class where it is infected: ground glass where that is at least as probable.

    Parameters
    ----------
    infection : (rows, columns)
    classes : (2, rows, columns)
    """
    infected, ground_glass = infection >= threshold, classes[0] >= classes[1]
    return dict(zip(CLASSES, (infected & ground_glass, infected & ~ground_glass), strict=True))


@contextmanager
def open_system(path: Path, device: str, prior: Path | None = None) -> Iterator[Opened]:
    """Open the folder of a run, its weights or an ONNX file.

    Parameters
    ----------
    prior
        Weights of the network whose probability of infection it is given, where it needs one; what is
        infected is then said by that network, as in a model file.
    """
    if path.suffix.lower() == ".onnx":
        with open_session(path, device=device, precision="f32") as session:
            how = {"trained": "an ONNX file", "file": path.name, "data": session.manifest.training_data}
            manifest = session.manifest
            yield Opened(
                session.model_sha256,
                session.device,
                how,
                manifest.preprocess,
                manifest.output,
                lambda batch: _of_session(session, batch),
                session,
            )
        return
    weights = path / WEIGHTS if path.is_dir() else path
    used = choose_device(device)
    trained = read_network(weights, purpose="measure")
    state = read_state(weights)
    run = _runner(trained.network, used, trained.preprocess, prior if state["config"].get("prior") else None)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    output = OutputSpec()
    session = _NetworkSession(run, used, digest, trained.preprocess)
    yield Opened(digest, used, how_trained(state), trained.preprocess, output, run, session)


def how_trained(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its training, in plain values."""
    config, how = state["config"], state.get("how", {})
    per_epoch = sum(how.get("slices", []))
    steps_per_epoch = -(-per_epoch // config["batch_size"]) if per_epoch else 0
    epochs, rest = divmod(state["step"], steps_per_epoch or 1)
    return {
        "recipe": config["name"],
        "network": config.get("network", "inf-net"),
        "data": [source["folder"] for source in config["sources"]],
        "slices": per_epoch,
        "slices_seen": epochs * per_epoch + min(rest * config["batch_size"], per_epoch),
        "steps": state["step"],
        "by_time": state.get("share", 0) > 0,
        "size": config["preprocess"]["size"],
        "seed": config["seed"],
        # Of a path the file and its stage, and nothing of the machine.
        "started_from": "/".join(Path(config["init_from"]).parts[-2:])
        or how.get("backbone")
        or "random weights",
        "device": how.get("device", ""),
        "precision": how.get("precision", ""),
        "loss": state["history"][-1]["loss"] if state["history"] else None,
    }


def _runner(network: Network, device: str, spec: PreprocessSpec, prior: Path | None) -> Run:
    if prior is not None:
        network = Guided(read_prior(prior, spec, device).network, network, spec.mean, spec.std)
    network.to(device).eval()

    @torch.no_grad()
    def run(batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        outputs = network(torch.from_numpy(batch).to(device)).to_float()
        infection = torch.sigmoid(outputs.prediction)[:, 0].cpu().numpy()
        if outputs.classes is None:
            return infection, None
        return infection, torch.softmax(outputs.classes, dim=1)[:, 1:].cpu().numpy()

    return run


def _of_session(session: Session, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    infection = infection_probability(session, batch)
    if session.manifest.class_output is None:
        return infection, None
    return infection, classes_of(run_checked(session, batch), session.manifest)


class _NetworkSession(ClosedByBlock):
    """A network in PyTorch as a session, for the path of whole scans."""

    precision, batch_size, coarse = "float32", 4, None

    def __init__(self, run: Run, device: str, sha256: str, preprocess: PreprocessSpec) -> None:
        self._run, self.device, self.model_sha256 = run, device, sha256
        self.backend = f"torch {torch.__version__}"
        self.manifest = ModelManifest(
            name="measured",
            version="0",
            licence="not for use",
            training_data="see the table",
            weights_sha256=sha256,
            preprocess=preprocess,
        )

    def run(self, batch: FloatArray) -> Outputs:
        """Infection alone, (n, 1, size, size)."""
        return {self.manifest.output.name: np.ascontiguousarray(self._run(batch)[0][:, None])}

    def close(self) -> None:
        """Nothing to release."""
