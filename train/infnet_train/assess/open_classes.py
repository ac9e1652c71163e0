"""A model file that tells ground glass from consolidation, ready for slices, with its prior."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import run_checked
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import resize, to_network
from infnet_train.assess.predict import open_model, outputs_of, tells_classes, weights_path
from infnet_train.assess.priors import refuse_as_prior, refuse_other_slices
from infnet_train.machine.device import choose_device
from infnet_train.networks.guided import beside
from infnet_train.weights.trained import TrainedNetwork, read_network

TRUTH = "truth"

_PriorOf = Callable[[ByteArray, BoolArray], FloatArray]
"""A slice and its truth, (rows, columns) both, to a prior (1, size, size)."""


@dataclass(frozen=True)
class PriorUsed:
    """What was put before a network that needs a prior.

    Parameters
    ----------
    model
        Its path, or ``truth``.
    sha256
        Of the file; empty for the truth.
    as_in_training
        Whether the network was trained with the same; None where that is not known.
    """

    model: str
    sha256: str = ""
    as_in_training: bool | None = None


@dataclass(frozen=True)
class OpenClasses:
    """A model that tells classes apart.

    Parameters
    ----------
    run
        A slice and its true infection, (rows, columns) both, of which the truth is looked at for a prior from
        it alone, to probabilities of background and classes (3, size, size).
    """

    sha256: str
    device: str
    preprocess: PreprocessSpec
    prior: PriorUsed | None
    run: Callable[[ByteArray, BoolArray], FloatArray]

    def predict(self, grey: ByteArray, infected: BoolArray) -> ByteArray:
        """The most probable class of each pixel, 0, 1 or 2; probabilities are resized, not classes.

        Parameters
        ----------
        grey, infected : (rows, columns)
            A slice, and the true infection.
        """
        probability = resize(self.run(grey, infected), *grey.shape)  # (3, rows, columns)
        return np.asarray(probability.argmax(axis=0), np.uint8)


@contextmanager
def open_classes(model: Path, device: str, *, prior: str = "") -> Iterator[OpenClasses]:
    """Open weights, the folder of a run, the authors' file or an ONNX file that tells classes apart.

    Parameters
    ----------
    device
        As of :func:`~infnet_train.assess.evaluate.evaluate_file`.
    prior
        What is put before a network that needs it: a model that finds the infection, or ``truth``.

    Raises
    ------
    InfnetError
        If model, device or prior are refused, or a prior is missing or given where none is taken.
    """
    with ExitStack() as stack:
        if model.suffix.lower() == ".onnx":
            yield _from_onnx(stack, model, device, prior)
            return
        path = weights_path(model)
        trained, used = read_network(path, purpose="evaluate"), choose_device(device)
        network = trained.network.to(used).eval()
        if not tells_classes(network, trained.config.in_channels, used):
            raise _knows_no_classes(model)
        if trained.config.prior != bool(prior):
            raise _refused_prior(model, needed=trained.config.prior)
        prior_of, what = _prior_of(stack, prior, trained, used) if prior else (None, None)
        spec = trained.preprocess

        def run(grey: ByteArray, infected: BoolArray) -> FloatArray:
            images = torch.from_numpy(_input(grey, spec)).to(used)
            if prior_of is not None:
                found = torch.from_numpy(prior_of(grey, infected)).to(used)
                images = beside(images, found[:, None], spec.mean, spec.std)
            classes = outputs_of(network, images).classes
            assert classes is not None
            probability = torch.softmax(classes[0], dim=0)
            if not torch.isfinite(probability).all():
                raise GateError("the network returned probabilities that are not finite", code=7020)
            return np.asarray(probability.cpu().numpy(), np.float32)

        yield OpenClasses(hashlib.sha256(path.read_bytes()).hexdigest(), used, spec, what, run)


def _from_onnx(stack: ExitStack, model: Path, device: str, prior: str) -> OpenClasses:
    precision = "auto" if device.startswith("cuda") else "f32"
    session = stack.enter_context(open_session(model, device=device, precision=precision))
    output = session.manifest.class_output
    if output is None:
        raise _knows_no_classes(model)
    if prior:
        raise _refused_prior(model, needed=False)
    return OpenClasses(
        session.model_sha256,
        session.device,
        session.manifest.preprocess,
        None,
        lambda grey, _infected: run_checked(session, _input(grey, session.manifest.preprocess))[output.name][
            0
        ],
    )


def _prior_of(
    stack: ExitStack, prior: str, trained: TrainedNetwork, device: str
) -> tuple[_PriorOf, PriorUsed]:
    spec = trained.preprocess
    if prior == TRUTH:

        def truth(_grey: ByteArray, infected: BoolArray) -> FloatArray:
            return resize(infected[None].astype(np.float32), spec.size, spec.size)

        return truth, PriorUsed(
            TRUTH, as_in_training=not trained.prior_sha256 if trained.is_recorded else None
        )
    path, same = Path(prior), None
    if path.suffix.lower() != ".onnx":
        first = read_network(weights_path(path), purpose="take priors from")
        refuse_as_prior(first, spec, path)
        same = first.weights_sha256 == trained.prior_sha256 if trained.is_recorded else None
    opened = stack.enter_context(open_model(path, device, purpose="take priors from"))
    refuse_other_slices(opened.preprocess, spec, path)

    def found(grey: ByteArray, _infected: BoolArray) -> FloatArray:
        probability = opened.run(_input(grey, opened.preprocess))  # at the size of that network
        return resize(probability, spec.size, spec.size)

    return found, PriorUsed(prior, opened.sha256, same)


def _input(grey: ByteArray, spec: PreprocessSpec) -> FloatArray:
    """Network input of a slice, (1, 3, size, size)."""
    return to_network(grey[None], Intensity.WINDOWED, spec)


def _knows_no_classes(model: Path) -> ModelError:
    return ModelError(
        f"{model} does not tell ground glass from consolidation; leave --classes out, or give a model that "
        "does",
        code=4143,
    )


def _refused_prior(model: Path, *, needed: bool) -> ModelError:
    what = (
        "is given the infection beside the slice: add --prior MODEL, a model that finds the infection, or "
        "--prior truth"
        if needed
        else "takes the slice alone: leave --prior out"
    )
    return ModelError(f"{model} {what}", code=4143)
