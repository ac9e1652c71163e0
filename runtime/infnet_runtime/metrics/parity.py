"""Two sets of probabilities for the same slices: how far apart, and whether that is too far.

Distances are in probability: logits of a network are unbounded and their rounding says nothing about the
mask.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray
from infnet_runtime.errors import GateError
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.slices.temperature import network_threshold


@dataclass(frozen=True)
class Parity:
    """How far the file is from the network.

    Parameters
    ----------
    slices
        Number of slices compared.
    largest_distance, mean_distance
        In probability, over all pixels.
    undecided
        Fraction of pixels with a reference probability between 0.01 and 0.99. If it is near 0 the distances
        say little, because a saturated output hides them.
    mask_disagreement
        Fraction of pixels on different sides of the threshold.
    mask_dice
        Dice between both masks, all slices together; 1 if both are empty.
    volume_change
        Relative difference of the masks' sizes, all slices together: of the millilitres, where all slices
        have pixels of one size. 0 if both are empty.
    differing_pixels
        Pixels in one of the masks alone, all slices together.
    farthest_slice
        Place of the slice with the largest distance.
    """

    slices: int
    largest_distance: float
    mean_distance: float
    undecided: float
    mask_disagreement: float
    mask_dice: float
    volume_change: float
    differing_pixels: int = 0
    farthest_slice: int = 0


@dataclass(frozen=True)
class Tolerance:
    """How far two sets of probabilities may be apart.

    Parameters
    ----------
    largest
        In probability, for any pixel.
    mean
        In probability, over all pixels of all slices.
    mask_dice
        Smallest Dice between the masks, all slices together.
    volume
        Largest relative difference of the masks' sizes; by default there is no limit that matters.
    few_pixels
        Masks that differ in no more than so many pixels a slice are equal, whatever share that is: of a small
        mask a rim one pixel wide is much.
    """

    largest: float
    mean: float
    mask_dice: float = 0.0
    volume: float = 1e9
    few_pixels: float = 0.0

    def allows(self, parity: Parity) -> bool:
        """Whether all distances are within; one that is not a number never is."""
        return not self.faults(parity)

    def faults(self, parity: Parity) -> list[str]:
        """What is beyond the limits, each with its value and its limit."""
        if math.isnan(parity.largest_distance):
            return [
                "probabilities that are not finite: its weights are damaged or too large; train again or "
                "take an earlier checkpoint"
            ]
        found = []
        if not parity.largest_distance <= self.largest:
            found.append(f"a probability by {parity.largest_distance:.2g} (at most {self.largest:g})")
        if not parity.mean_distance <= self.mean:
            found.append(f"probabilities by {parity.mean_distance:.2g} on average (at most {self.mean:g})")
        if parity.differing_pixels <= self.few_pixels * parity.slices:
            return found
        if not parity.mask_dice >= self.mask_dice:
            found.append(
                f"masks by a Dice of {parity.mask_dice:.4f} between them (at least {self.mask_dice:g}, or "
                f"{self.few_pixels:g} pixels a slice)"
            )
        if not parity.volume_change <= self.volume:
            found.append(
                f"the infected volume by {parity.volume_change:.2%} (at most {self.volume:.1%}, or "
                f"{self.few_pixels:g} pixels a slice)"
            )
        return found


EXACT = Tolerance(largest=1e-4, mean=1e-5)
"""The same file run by two programs, or the same network in single precision: rounding alone. The shipped
network gave 2e-5 and 1e-7 on real slices; the room is for steeper networks."""

FP32_TOLERANCE = Tolerance(largest=1e-3, mean=1e-4)
"""Briefly trained networks gave 2e-6 and 8e-8 on real slices; the room is for steeper networks."""

FP16_TOLERANCE = Tolerance(largest=5e-3, mean=1e-3)
"""For weights stored in half precision. Briefly trained networks gave 3e-4 and 8e-6 on real and synthetic
slices. The room is for steeper networks; a published one should stay below 1e-3."""

ENLARGED_TOLERANCE = Tolerance(largest=1e-5, mean=1e-6)
"""For coarse logits that the runtime enlarges, against the full map of the same file: the order of rounding
in one resize and one sigmoid. The shipped models gave 2e-7 on real scans."""

HALF_TOLERANCE = Tolerance(largest=5e-2, mean=1e-3, mask_dice=0.995, volume=0.01, few_pixels=5)
"""For half precision between the layers as well. The shipped network gave 4e-2 at its steepest pixel and 2e-4
on average over slices of three scans; a single pixel says little, so the masks have to agree too. Theirs
agreed by 0.9999 within the lungs of each scan, and by 0.9975 (volume 0.51 %) on whole slices of the worst,
which the network was not made for. Two readers of one scan differ by more than 0.1 in Dice."""

HALF_CLASS_TOLERANCE = Tolerance(largest=0.15, mean=3e-3, mask_dice=0.97, volume=0.03, few_pixels=5)
"""The same for the classes of the infection. On their border one is as probable as the other and a rounding
decides, so the limits are three times those of the infection; chosen, not measured on a trained network."""

_SMALL_CLASS = 0.05  # share of the infection below which a class is judged by its volume alone


Probability = npt.NDArray[np.floating]


def network_thresholds(manifest: ModelManifest) -> dict[str, tuple[float, ...]]:
    """Output to the thresholds on the network's own probability; none where the largest class counts."""
    return {
        output.name: tuple(network_threshold(t, output.temperature) for t in output.thresholds)
        for output in manifest.outputs
    }


class Distances:
    """What is known of the distances after some batches of slices, in little memory.

    Parameters
    ----------
    thresholds
        On these probabilities, one for each class; see :func:`network_thresholds`.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = thresholds
        self._by_slice: list[float] = []
        self._sum, self._pixels, self._undecided, self._masks_at = 0.0, 0, 0, 0
        self._differing, self._both, self._sizes = 0, 0, np.zeros(2, np.int64)

    def add(self, found: Probability, reference: Probability) -> None:
        """Take the next slices in, both (n, channels, size, size).

        Raises
        ------
        GateError
            If the shapes differ.
        """
        if found.shape != reference.shape:
            raise GateError(
                f"expected probabilities {reference.shape}, the exported model returned {found.shape}",
                code=7002,
            )
        distance = np.abs(found.astype(np.float64) - reference)
        self._by_slice += distance.max(axis=(1, 2, 3)).tolist()
        self._sum += float(distance.sum())
        self._pixels += distance.size
        self._undecided += int(((reference > 0.01) & (reference < 0.99)).sum())
        mask, mask_reference = _masks(found, self._thresholds), _masks(reference, self._thresholds)
        self._masks_at += mask.size
        self._differing += int((mask != mask_reference).sum())
        self._both += int((mask & mask_reference).sum())
        self._sizes += int(mask.sum()), int(mask_reference.sum())

    @property
    def slices(self) -> int:
        """How many were added."""
        return len(self._by_slice)

    def parity(self) -> Parity:
        """All slices so far together; there is at least one."""
        by_slice = np.array(self._by_slice)
        size, size_reference = self._sizes.tolist()
        return Parity(
            slices=len(by_slice),
            largest_distance=float(by_slice.max()),
            mean_distance=self._sum / self._pixels,
            undecided=self._undecided / self._pixels,
            mask_disagreement=self._differing / self._masks_at,
            mask_dice=2 * self._both / (size + size_reference) if size + size_reference else 1.0,
            volume_change=abs(size - size_reference) / max(size_reference, 1),
            differing_pixels=self._differing,
            farthest_slice=int(by_slice.argmax()),
        )


def compare(found: Probability, reference: Probability, thresholds: Sequence[float]) -> Parity:
    """Distances between probabilities of equal shape (n, channels, size, size); see :class:`Distances`."""
    distances = Distances(thresholds)
    distances.add(found, reference)
    return distances.parity()


def compare_classes(found: Probability, reference: Probability, infected: BoolArray) -> Parity:
    """Distances between probabilities of classes, whose masks lie where the infection is.

    There a pixel belongs to the more probable of the classes; the background has no say.

    Parameters
    ----------
    found, reference : (n, 1 + classes, size, size)
    infected : (n, size, size)
        By the reference.

    Returns
    -------
    ``mask_dice`` is the smallest of the classes, but for those with less than 5 % of the infection;
    ``volume_change`` the largest, as a share of the infection.
    """
    distances = compare(found, reference, ())
    masks = [np.where(infected, p[:, 1:].argmax(axis=1), -1) for p in (found, reference)]
    classes = range(found.shape[1] - 1)
    sizes = np.array([[(mask == k).sum() for k in classes] for mask in masks])
    both = np.array([((masks[0] == k) & (masks[1] == k)).sum() for k in classes])
    total = max(int(infected.sum()), 1)
    counted = sizes[1] >= max(_SMALL_CLASS * total, 1)
    dice = 2 * both[counted] / sizes[:, counted].sum(axis=0)
    differing = int((masks[0] != masks[1]).sum())
    return replace(
        distances,
        mask_disagreement=differing / infected.size,
        mask_dice=float(dice.min(initial=1.0)),
        volume_change=float(np.abs(sizes[0] - sizes[1]).max()) / total,
        differing_pixels=differing,
    )


def worst_of(parities: Collection[Parity]) -> Parity:
    """The largest of each distance; a number that is none wins."""
    first = next(iter(parities))

    def most(name: str) -> float:
        return float(np.max([getattr(p, name) for p in parities]))  # unlike max, NaN wins

    return Parity(
        slices=first.slices,
        largest_distance=most("largest_distance"),
        mean_distance=most("mean_distance"),
        undecided=first.undecided,
        mask_disagreement=most("mask_disagreement"),
        mask_dice=float(np.min([p.mask_dice for p in parities])),
        volume_change=most("volume_change"),
        differing_pixels=max(p.differing_pixels for p in parities),
        farthest_slice=max(parities, key=lambda p: p.largest_distance).farthest_slice,
    )


def _masks(probability: Probability, thresholds: Sequence[float]) -> BoolArray:
    """(n, channels, h, w) -> (n, classes, h, w); in front of the classes there may be a background."""
    if not thresholds:
        best = probability.argmax(axis=1)
        return np.stack([best == k for k in range(1, probability.shape[1])], axis=1)
    first = probability.shape[1] - len(thresholds)
    return np.stack([probability[:, first + k] >= t for k, t in enumerate(thresholds)], axis=1)
