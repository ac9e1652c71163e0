"""What every backend offers, and the check in front of all of them."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.manifest import ModelManifest

DEFAULT_BATCH_SIZE = 4

# Fast sigmoids overshoot: ONNX Runtime on the CPU was seen to return 1 + 1.2e-7.
_ROUNDING = 1e-6


class Session(Protocol):
    """A network ready to run on one device.

    ``run`` may be called from several threads, also from others than the one that opened the session: ONNX
    Runtime on the CPU runs the calls side by side, the others one after another. The same batch gives the
    same bytes, whatever ran before it.

    Close it, or use it as a context manager, to give memory back. A call that still runs in another thread
    ends as usual; ``run`` after ``close`` raises ``RuntimeError``; closing twice is allowed.
    """

    @property
    def backend(self) -> str:
        """Backend, version and what it runs on, such as ``onnxruntime 1.32.0 (CPUExecutionProvider)``."""

    @property
    def device(self) -> str:
        """The device that is really used, ``cpu`` or ``cuda:N``."""

    @property
    def manifest(self) -> ModelManifest:
        """The manifest stored in the model."""

    @property
    def model_sha256(self) -> str:
        """Hash of the model file."""

    @property
    def batch_size(self) -> int:
        """Slices that are best handed over at once; any other number is cut and filled up as needed."""

    def run(self, batch: FloatArray) -> FloatArray:
        """Network input (n, 3, size, size) -> infection probability (n, 1, size, size)."""

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
    """The context manager part of a session."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def run_checked(session: Session, batch: FloatArray) -> FloatArray:
    """Run a batch and check what comes back.

    Parameters
    ----------
    batch : (n, 3, size, size)

    Returns
    -------
    (n, size, size), probabilities

    Raises
    ------
    ModelError
        If the shape or type of the output is not what the contract says.
    GateError
        If a probability is not finite or not within 0..1.
    """
    n, _, height, width = batch.shape
    output = session.run(batch)
    if output.shape != (n, 1, height, width) or output.dtype != np.float32:
        raise ModelError(
            f"expected float32 probabilities {(n, 1, height, width)}, backend '{session.backend}' returned "
            f"{output.dtype} {output.shape}; export the model again with infnet-export",
            code=4032,
        )
    plausible = (output >= -_ROUNDING) & (output <= 1 + _ROUNDING)  # false for NaN
    if not plausible.all():
        bad = int(np.count_nonzero(~plausible))
        raise GateError(
            f"{bad} of {output.size} probabilities from '{session.backend}' on {session.device} are not "
            "finite or not within 0..1; no mask is written. Use another backend or export the model again",
            code=7020,
        )
    return np.clip(output[:, 0], 0, 1)
