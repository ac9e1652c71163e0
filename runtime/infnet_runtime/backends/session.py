"""What every backend offers, and the check in front of all of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self, TypeAlias

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.coarse_logits import CoarseSpec, outputs_given
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.specs import SOFTMAX, OutputSpec
from infnet_runtime.slices.enlarge import enlarged

DEFAULT_BATCH_SIZE = 4

Outputs: TypeAlias = Mapping[str, FloatArray]
"""What a network gives, by name: probabilities (n, channels, size, size), or coarse logits in their place."""

# Fast sigmoids overshoot: ONNX Runtime on the CPU was seen to return 1 + 1.2e-7.
_ROUNDING = 1e-6
# Of the sum over the channels of a softmax: half precision rounds each of a few by up to 2.5e-4.
_SUM_ROUNDING = 5e-3
_SAID = 500  # characters of a backend's own words in a message


class Session(Protocol):
    """A network ready to run on one device.

    ``run`` may be called from several threads, also from others than the one that opened the session: ONNX
    Runtime on the CPU runs the calls side by side, the others one after another. The same batch gives the
    same bytes, whatever ran before it.

    Close it, or use it as a context manager, to give memory back. A call that still runs in another thread
    ends as usual; ``run`` after ``close`` raises ``ModelError``; closing twice is allowed.
    """

    @property
    def backend(self) -> str:
        """Backend, version and what it runs on, such as ``onnxruntime 1.32.0 (CPUExecutionProvider)``."""

    @property
    def precision(self) -> str:
        """What is really computed in, such as ``float32``, ``float16``, ``bf16`` or ``int8 + bf16``."""

    @property
    def device(self) -> str:
        """The device that is really used, ``cpu`` or ``cuda:N``."""

    @property
    def manifest(self) -> ModelManifest:
        """The manifest stored in the model, with the outputs that were asked for."""

    @property
    def model_sha256(self) -> str:
        """Hash of the model file."""

    @property
    def batch_size(self) -> int:
        """Slices that are best handed over at once; any other number is cut and filled up as needed."""

    @property
    def coarse(self) -> CoarseSpec | None:
        """The coarse logits that are given in the place of the probabilities they lead to; mostly None."""

    def run(self, batch: FloatArray) -> Outputs:
        """Network input (n, channels, size, size) -> every output that the manifest names.

        Of one that coarse logits lead to it is these, under their own name, where ``coarse`` says so.
        """

    def close(self) -> None:
        """Release the device."""

    def __enter__(self) -> Self:
        """Enter a block that closes the session at its end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""


class ClosedByBlock(ABC):
    """The context manager part of a session, and of what owns or uses one."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self:
        """Return what is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def closed() -> ModelError:
    """A session that was closed, and is asked to run."""
    return ModelError(
        "the session is closed: its model was given back, perhaps by another thread; load it again, and "
        "close it after the last run",
        code=4080,
    )


def failed(session: Session, error: Exception) -> GateError:
    """What a backend could not run, in one line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return GateError(
        f"{session.backend} failed on {session.device}: {said[:_SAID]}; export the model again with "
        "infnet-export, or choose another --backend",
        code=7021,
    )


def run_checked(session: Session, batch: FloatArray) -> Outputs:
    """Run a batch and check what comes back.

    Parameters
    ----------
    batch : (n, channels, size, size)

    Returns
    -------
    Output to probabilities (n, channels, size, size), all within 0..1, or to coarse logits, all finite

    Raises
    ------
    ModelError
        If the shape or type of an output is not what the contract says.
    GateError
        If a probability is not finite or not within 0..1, the classes of a softmax do not sum to 1, or a
        logit is not finite.
    """
    found = session.run(batch)
    specs = {o.name: o for o in session.manifest.outputs}
    checked: dict[str, FloatArray] = {}
    for name, shape in outputs_given(session.manifest, session.coarse).items():
        what = "probabilities" if name in specs else "logits"
        output = _as_promised(session, found.get(name), name, what, (len(batch), *shape))
        checked[name] = (
            _checked(session, output, specs[name]) if name in specs else _finite(session, output, name)
        )
    return checked


def infection_of(outputs: Outputs, manifest: ModelManifest) -> FloatArray:
    """The network's own probability of infection, (n, size, size)."""
    spec = manifest.output
    return outputs[spec.name][:, spec.infection_channel]


def infection_probability(session: Session, batch: FloatArray) -> FloatArray:
    """Run a batch, check what comes back, and take the infection of it; coarse logits are all enlarged.

    Parameters
    ----------
    batch : (n, channels, size, size)

    Returns
    -------
    (n, size, size)

    Raises
    ------
    ModelError, GateError
        As of :func:`run_checked`.
    """
    return whole_infection(run_checked(session, batch), session)


def whole_infection(outputs: Outputs, session: Session) -> FloatArray:
    """:func:`infection_of`, also where coarse logits lead to it: all of them enlarged."""
    if session.coarse is None:
        return infection_of(outputs, session.manifest)
    return enlarged(logits_of(outputs, session.manifest, session.coarse), session.coarse.factor)


def infection_logits(session: Session, batch: FloatArray, coarse: CoarseSpec) -> FloatArray:
    """:func:`infection_probability` before the logits are enlarged.

    Parameters
    ----------
    coarse
        ``session.coarse``.

    Returns
    -------
    (n, size / factor, size / factor)
    """
    return logits_of(run_checked(session, batch), session.manifest, coarse)


def logits_of(outputs: Outputs, manifest: ModelManifest, coarse: CoarseSpec) -> FloatArray:
    """Coarse logits of infection, (n, size / factor, size / factor)."""
    return outputs[coarse.output][:, manifest.output.infection_channel]


def classes_of(outputs: Outputs, manifest: ModelManifest) -> FloatArray | None:
    """Probabilities of ground glass and of consolidation, (n, 2, size, size); None where none were asked."""
    spec = manifest.class_output
    return None if spec is None else outputs[spec.name][:, 1:]  # without the background


def _as_promised(
    session: Session, output: FloatArray | None, name: str, what: str, expected: tuple[int, ...]
) -> FloatArray:
    if output is None or output.shape != expected or output.dtype != np.float32:
        found = "nothing" if output is None else f"{output.dtype} {output.shape}"
        raise ModelError(
            f"expected float32 {what} {expected}, backend '{session.backend}' returned {found}"
            f"{_named(session, name)}; export the model again with infnet-export",
            code=4032,
        )
    return output


def _named(session: Session, name: str) -> str:
    return f" as '{name}'" if len(session.manifest.outputs) > 1 else ""


def _finite(session: Session, logits: FloatArray, name: str) -> FloatArray:
    finite = np.isfinite(logits)
    if not finite.all():
        raise GateError(
            f"{int(np.count_nonzero(~finite))} of {logits.size} logits from '{session.backend}' on "
            f"{session.device}{_named(session, name)} are not finite; no mask is written. Use another "
            "backend or export the model again",
            code=7020,
        )
    return logits


def _checked(session: Session, output: FloatArray, spec: OutputSpec) -> FloatArray:
    named = _named(session, spec.name)
    plausible = (output >= -_ROUNDING) & (output <= 1 + _ROUNDING)  # false for NaN
    if not plausible.all():
        bad = int(np.count_nonzero(~plausible))
        raise GateError(
            f"{bad} of {output.size} probabilities from '{session.backend}' on {session.device}{named} are "
            "not finite or not within 0..1; no mask is written. Use another backend or export the model "
            "again",
            code=7020,
        )
    if spec.activation == SOFTMAX:
        furthest = float(np.abs(output.sum(axis=1) - 1).max(initial=0))
        if furthest > _SUM_ROUNDING:
            raise GateError(
                f"probabilities of '{spec.name}' from '{session.backend}' on {session.device} exclude each "
                f"other, and their sum is off 1 by up to {furthest:.3g}; no mask is written. Use another "
                "backend or export the model again",
                code=7020,
            )
    return np.clip(output, 0, 1)
