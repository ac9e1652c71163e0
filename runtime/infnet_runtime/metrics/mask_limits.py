"""Whether two masks of the same scan or picture are the same for those who read them: by volume and overlap.

Every scan counts by itself. Of a small mask a share says nothing: a rim one voxel wide is most of it. So what
is small in millilitres, or in pixels, passes whatever share it is.
"""

import math
from dataclasses import dataclass

from infnet_runtime.arrays import BoolArray

LARGEST_DICE_SHIFT = 0.003
LARGEST_VOLUME_SHIFT = 0.01
SMALLEST_AGREEMENT = 0.98
"""The shipped 8-bit model and the one in single precision agreed by 0.989 to 0.997 on three scans of 72 to
930 ml of infection, and by 0.990 on the phantom; their volumes differed by 0.1 to 0.8 %, in the smallest by
0.4 ml."""
FEW_ML = 1.0
"""Where the smallest of these scans differed in 1.6 ml of voxels, one of 12 ml would differ in half of one:
the rims of masks grow with the power 2/3 of their volume. The shipped model marks 15 to 28 ml in healthy
chests."""
FEW_PIXELS = 10
ML, PIXELS = "ml", "pixels"


@dataclass(frozen=True)
class Limits:
    """Largest shifts that pass.

    Parameters
    ----------
    dice
        Mean over the cases of a set of how far the Dice moves, up or down.
    volume
        Of the infected volume of a set of slices or of a scan, as a share of the reference's.
    agreement
        Smallest Dice between the two masks of a scan.
    few_ml : ml
        A volume may move by this much in any scan, and a scan whose masks differ in no more agrees.
    few_pixels : pixels
        The same of a slice.
    """

    dice: float = LARGEST_DICE_SHIFT
    volume: float = LARGEST_VOLUME_SHIFT
    agreement: float = SMALLEST_AGREEMENT
    few_ml: float = FEW_ML
    few_pixels: float = FEW_PIXELS

    def few(self, unit: str) -> float:
        """What is little of a unit."""
        return self.few_ml if unit == ML else self.few_pixels

    def in_words(self, unit: str) -> str:
        """All that holds for cases of a unit."""
        size = f"the infection by at most {self.volume:.0%} or {self.few(unit):g} {unit}"
        if unit == ML:
            return f"{size} in each scan, and masks with a Dice of {self.agreement:g} or differing in no more"
        return f"{size} a slice, and Dice by at most {self.dice:g}"


LIMITS = Limits()
"""Of every gate."""


@dataclass(frozen=True)
class MaskPair:
    """Two masks of a scan, or of a picture.

    Parameters
    ----------
    name
        Of the scan.
    sizes : ml or pixels
        Of the reference's mask, and of the other.
    differing : ml or pixels
        How much belongs to one of the masks alone.
    unit
        Of both.
    """

    name: str
    sizes: tuple[float, float]
    differing: float
    unit: str

    @property
    def agreement(self) -> float:
        """Dice between the two masks; 1 if both are empty."""
        both = sum(self.sizes)
        return 1 - self.differing / both if both else 1.0


def mask_pair(name: str, reference: BoolArray, other: BoolArray, voxel_ml: float | None) -> MaskPair:
    """Count two masks.

    Parameters
    ----------
    voxel_ml : ml
        None for a picture, whose pixels have no size and are counted.
    """
    size = 1.0 if voxel_ml is None else voxel_ml
    return MaskPair(
        name,
        (float(reference.sum()) * size, float(other.sum()) * size),
        float((reference != other).sum()) * size,
        PIXELS if voxel_ml is None else ML,
    )


def faults_of_scan(pair: MaskPair, limits: Limits) -> list[str]:
    """What of the masks of one scan is beyond the limits, each with its value and its limit."""
    before, after = pair.sizes
    faults = []
    if not abs(after - before) <= max(limits.volume * before, limits.few_ml):
        faults.append(
            f"{pair.name} moves from {before:.1f} to {after:.1f} ml, by {share(before, after):.2%} (at most "
            f"{limits.volume:.0%} or {limits.few_ml:g} ml)"
        )
    if not (pair.agreement >= limits.agreement or pair.differing <= limits.few_ml):
        faults.append(
            f"the masks of {pair.name} agree by a Dice of {pair.agreement:.4f} and differ in "
            f"{pair.differing:.1f} ml (at least {limits.agreement:g}, or at most {limits.few_ml:g} ml)"
        )
    return faults


def faults_of_pictures(before: float, after: float, pictures: int, limits: Limits) -> list[str]:
    """The same of a set of pictures, whose masks are judged by their sum.

    Parameters
    ----------
    before, after : pixels
        Infection in all of them.
    """
    if abs(after - before) <= max(limits.volume * before, limits.few_pixels * pictures):
        return []
    return [
        f"the infection moves from {before:.0f} to {after:.0f} pixels, by {share(before, after):.2%} "
        f"(at most {limits.volume:.0%})"
    ]


def share(before: float, after: float) -> float:
    """Relative difference; infinite where something comes from nothing."""
    return abs(after - before) / before if before else (0.0 if after == before else math.inf)
