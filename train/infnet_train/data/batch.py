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
    classes : (n, 1, size, size)
        Class of each pixel as in ``data.classes``; absent where no source of the run has classes.
    total
        Slices of the batch over all ranks; n is the share of one and may be 0.
    """

    images: Tensor
    masks: Tensor
    edges: Tensor
    keep: Tensor | None
    total: int
    classes: Tensor | None = None

    def pinned(self) -> "Batch":
        """In memory that a GPU copies from while it computes."""
        images, masks, edges = (t.pin_memory() for t in (self.images, self.masks, self.edges))
        keep = None if self.keep is None else self.keep.pin_memory()
        classes = None if self.classes is None else self.classes.pin_memory()
        return Batch(images, masks, edges, keep, self.total, classes)
