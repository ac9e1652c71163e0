"""What is wanted of one run besides its scan, gathered on the way from a caller to the path of the volume."""

from collections.abc import Callable
from dataclasses import dataclass

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError
from infnet_runtime.host.buffers import NO_TARGETS, Targets
from infnet_runtime.model.slice_gate import SliceGate
from infnet_runtime.scan.lung_mask import LungMask

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Wanted:
    """As the parameters of :meth:`infnet_runtime.segment.segmenter.Segmenter.predict`.

    Parameters
    ----------
    gate
        Given where slices are to be silenced.
    lobes : (i, j, k)
        As of :func:`~infnet_runtime.lungs.lobes.given_lobes`.
    targets
        Where results are written, in stored order.

    Raises
    ------
    InputError
        If the batch size is below 1.
    """

    lungs: AnyArray | LungMask | None
    batch_size: int
    fast: bool
    gate: SliceGate | None
    progress: Progress | None
    quantitative: bool = True
    keep_probability: bool = False
    lobes: AnyArray | None = None
    flip_check: bool = False
    keep_flat_marks: bool = False
    targets: Targets = NO_TARGETS

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch size is {self.batch_size}, expected 1 or more", code=3072)
