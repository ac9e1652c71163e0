"""How often each value occurs in a scan, from a sample: enough for shares, and next to no time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray
from infnet_runtime.scan.rescaled import Voxels

# A share of 1 % is known to a hundredth of itself.
_SAMPLED_VOXELS = 1 << 20

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often each whole value occurs.

    Parameters
    ----------
    counts : (levels,)
    first
        Value of the first level. What lies outside the levels is counted at their ends.
    """

    counts: Counts
    first: int

    @property
    def values(self) -> Counts:
        """The value of each level."""
        return np.arange(self.first, self.first + len(self.counts))

    def number(self, low: float = -np.inf, high: float = np.inf) -> int:
        """How many voxels lie between two values, both included."""
        values = self.values
        return int(self.counts[(values >= low) & (values <= high)].sum())

    def share(self, low: float, high: float, *, of: tuple[float, float] = (-np.inf, np.inf)) -> float:
        """Share of the voxels of one range that lie in another; 0 if there are none."""
        total = self.number(*of)
        return self.number(max(low, of[0]), min(high, of[1])) / total if total else 0.0

    def quantile(self, share: float) -> int:
        """Value below which a share of the voxels lies."""
        running = np.cumsum(self.counts)
        return self.first + int(np.searchsorted(running, max(1.0, share * running[-1])))

    def between(self, low: int, high: int) -> "Histogram":
        """The part between two values, both included, which lie within the levels."""
        return Histogram(self.counts[low - self.first : high - self.first + 1], low)

    def without(self, value: int) -> "Histogram":
        """The same, with nothing at one value."""
        counts = self.counts.copy()
        counts[value - self.first] = 0
        return Histogram(counts, self.first)


def histogram(voxels: Voxels, first: int, last: int) -> Histogram:
    """Count the whole values of a sample of a scan; those outside ``first..last`` count at the ends."""
    part = sample(voxels).ravel(order="K")  # as they lie in memory: their order is no matter
    whole = (np.rint(part) if part.dtype.kind == "f" else part).clip(first, last).astype(np.int64)
    whole -= first
    return Histogram(np.bincount(whole, minlength=last - first + 1), first)


def sample(voxels: Voxels) -> AnyArray:
    """Every n-th voxel along each axis, about a million of them.

    The axis with the most samples is thinned first, so the choice does not depend on the order of the axes.

    Examples
    --------
    >>> sample(np.zeros((512, 512, 133), np.int16)).shape
    (103, 128, 67)
    """
    steps = [1, 1, 1]
    while (
        np.prod(left := [-(-n // step) for n, step in zip(voxels.shape, steps, strict=True)])
        > _SAMPLED_VOXELS
    ):
        steps[int(np.argmax(left))] += 1
    i, j, k = steps
    return np.asarray(voxels[::i, ::j, ::k])
