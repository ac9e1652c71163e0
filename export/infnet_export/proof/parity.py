"""Two sets of probabilities for the same slices: how far apart, and whether that is too far.

Distances are in probability: logits of a network are unbounded and their rounding says nothing about the
mask. Nothing here needs PyTorch; the network itself as a reference is in ``torch_reference``.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.errors import GateError, InputError
from infnet_runtime.io import open_scan
from infnet_runtime.model.manifest import ModelManifest, PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.phantom import chest_phantom, textured
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import to_network
from infnet_runtime.slices.temperature import network_threshold

PHANTOMS = 4
SLICES_PER_VOLUME = 8
_ENDINGS = (".png", ".jpg", ".jpeg", ".nii", ".nii.gz")


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

HALF_TOLERANCE = Tolerance(largest=5e-2, mean=1e-3, mask_dice=0.995, volume=0.01, few_pixels=5)
"""For half precision between the layers as well. The shipped network gave 4e-2 at its steepest pixel and 2e-4
on average over slices of three scans; a single pixel says little, so the masks have to agree too. Theirs
agreed by 0.9999 within the lungs of each scan, and by 0.9975 (volume 0.51 %) on whole slices of the worst,
which the network was not made for. Two readers of one scan differ by more than 0.1 in Dice."""


Probability = npt.NDArray[np.floating]


def network_thresholds(manifest: ModelManifest) -> dict[str, tuple[float, ...]]:
    """Output to the thresholds on the network's own probability; none where the largest class counts."""
    return {
        output.name: tuple(network_threshold(t, output.temperature) for t in output.thresholds)
        for output in manifest.outputs
    }


def compare(found: Probability, reference: Probability, thresholds: Sequence[float]) -> Parity:
    """Distances between probabilities of equal shape (n, channels, size, size).

    Parameters
    ----------
    thresholds
        On these probabilities, one for each class; see :func:`network_thresholds`.

    Raises
    ------
    GateError
        If the shapes differ.
    """
    if found.shape != reference.shape:
        raise GateError(
            f"expected probabilities {reference.shape}, the exported model returned {found.shape}", code=7002
        )
    distance = np.abs(found.astype(np.float64) - reference)
    by_slice = distance.max(axis=(1, 2, 3))
    mask, mask_reference = _masks(found, thresholds), _masks(reference, thresholds)
    size, size_reference = int(mask.sum()), int(mask_reference.sum())
    both = size + size_reference
    return Parity(
        slices=len(found),
        largest_distance=float(distance.max()),
        mean_distance=float(distance.mean()),
        undecided=float(((reference > 0.01) & (reference < 0.99)).mean()),
        mask_disagreement=float((mask != mask_reference).mean()),
        mask_dice=2 * int((mask & mask_reference).sum()) / both if both else 1.0,
        volume_change=abs(size - size_reference) / max(size_reference, 1),
        differing_pixels=int((mask != mask_reference).sum()),
        farthest_slice=int(by_slice.argmax()),
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


def phantom_slices(count: int, size: int) -> npt.NDArray[np.int16]:
    """Axial slices of a synthetic chest with ground glass, for where no scan is at hand.

    Smooth but for the noise of a scanner: white noise drives the partial decoder's products to values no CT
    gives.

    Returns
    -------
    (count, size, size), HU

    Examples
    --------
    >>> phantom_slices(2, 64).shape
    (2, 64, 64)
    """
    # The middle third of the chest, where both lungs and the ground glass are.
    field_mm = 400.0
    spacing_mm = (240.0 / (3 * count), field_mm / size, field_mm / size)
    return textured(chest_phantom((3 * count, size, size), spacing_mm, noise_hu=0)).hu[count : 2 * count]


def phantom_input(spec: PreprocessSpec) -> FloatArray:
    """Network input of the synthetic slices that every export is checked on, (4, 3, size, size)."""
    return to_network(phantom_slices(PHANTOMS, spec.size), Intensity.HU, spec)


def scans_in(path: Path) -> list[Path]:
    """Files of pictures and volumes: a scan itself, or those in a folder.

    Raises
    ------
    InputError
        If there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(_ENDINGS))
    if not files:
        raise InputError(
            f"{path} holds no slices to verify on; expected files that end with {', '.join(_ENDINGS)}",
            code=3120,
        )
    return files


def scan_input(path: Path, spec: PreprocessSpec) -> tuple[FloatArray, list[str]]:
    """Network input of pictures and volumes, prepared as the runtime does it: cut to the lungs.

    Parameters
    ----------
    path
        A scan, or a folder of scans. Of a volume eight slices with lung are taken, evenly spaced; where there
        is no lung, of all slices and whole.

    Returns
    -------
    (n, 3, size, size), and a name for each slice

    Raises
    ------
    InputError
        If nothing is found, or a file is refused.
    """
    inputs, names = zip(*(_input_of(file, spec) for file in scans_in(path)), strict=True)
    return np.concatenate(inputs), [name for of_file in names for name in of_file]


def _input_of(path: Path, spec: PreprocessSpec) -> tuple[FloatArray, list[str]]:
    volume = open_scan(path).volume
    voxels = volume.to_lps()
    looked_at = region(lungs_of(volume, None)[0], volume.grid, spec.crop_margin_mm)
    slices = looked_at.slices or list(range(len(voxels)))
    box = (looked_at.rows, looked_at.columns) if looked_at.slices else (slice(None), slice(None))
    picks = np.linspace(0, len(slices) - 1, min(len(slices), SLICES_PER_VOLUME)).round().astype(int)
    picked = [slices[k] for k in np.unique(picks)]
    spacing_mm = volume.lps_spacing_mm[0]
    batch = volume_to_network(voxels, picked, box, volume.intensity, spec, spacing_mm=spacing_mm)
    named = [path.name if len(voxels) == 1 else f"{path.name}, slice {k + 1} from the feet" for k in picked]
    return batch, named


def refuse_non_finite(probability: Probability, source: str) -> None:
    """Refuse probabilities that are not finite.

    Raises
    ------
    GateError
        With their number.
    """
    bad = int(np.count_nonzero(~np.isfinite(probability)))
    if bad:
        raise GateError(
            f"{bad} of {probability.size} probabilities of {source} are not finite; the weights are damaged "
            "or too large, train again or take an earlier checkpoint",
            code=7002,
        )
