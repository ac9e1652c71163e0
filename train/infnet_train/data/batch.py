"""One batch: what the network gets, and what it is to answer."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Network input and targets, (n, 3 | 1 | 1, size, size).

    Parameters
    ----------
    keep : (n, 1, size, size), 0..1
        How much of a pixel counts in the loss; absent where all do.
    total
        Slices of the batch over all ranks; n is the share of one and may be 0.
    """

    images: Tensor
    masks: Tensor
    edges: Tensor
    keep: Tensor | None
    total: int

    def pinned(self) -> "Batch":
        """In memory that a GPU copies from while it computes."""
        images, masks, edges = (t.pin_memory() for t in (self.images, self.masks, self.edges))
        keep = None if self.keep is None else self.keep.pin_memory()
        return Batch(images, masks, edges, keep, self.total)
