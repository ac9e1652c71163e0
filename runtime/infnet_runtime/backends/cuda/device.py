"""What a runner needs of a GPU, whichever package offers it."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import BackendError


class Device(Protocol):
    """One GPU, in its primary context, which is the one TensorRT and ONNX Runtime use too.

    It is the current one of the thread that opened it, until ``close``; that thread alone uses it and closes
    it (:class:`~infnet_runtime.backends.cuda.owner.OwnerThread`). Addresses, streams and graphs are numbers.
    What was made lives until ``close``; let go of the arrays of ``pinned`` before.
    """

    @property
    def name(self) -> str:
        """Package and version, such as ``pycuda 2026.1``."""

    def memory(self, size: int) -> int:
        """Memory of the device in bytes -> its address, a multiple of 256."""

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Array in page-locked memory of the host, which is copied while others compute."""

    def stream(self) -> int:
        """A new queue of work."""

    def copy_in(self, address: int, host: AnyArray, stream: int) -> None:
        """Queue a copy from a contiguous host array to the device."""

    def copy_out(self, host: AnyArray, address: int, stream: int) -> None:
        """Queue a copy from the device to a contiguous host array."""

    def synchronize(self, stream: int) -> None:
        """Wait until a queue is empty. Errors of what was queued come out here."""

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what ``work`` queues on a stream, without doing it -> a graph."""

    def launch(self, graph: int, stream: int) -> None:
        """Queue a recorded graph."""

    def close(self) -> None:
        """Free everything, and leave the thread as it was before. Twice is allowed."""


def set_up_failed(package: str, index: int, error: BaseException) -> BackendError:
    """The refusal of a GPU that a package could not take."""
    return BackendError(
        f"{package} cannot use cuda:{index} ({error}); check nvidia-smi for free memory and for the driver, "
        "or choose --device cpu",
        code=5025,
    )


def byte_count(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    """Size of an array in bytes."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
