"""Whether a scan and its mirror image are marked alike.

A network is not symmetric, so what it marks in slices that were mirrored left to right, and mirrored back,
differs where it is not sure. The difference ranks scans by how far they are off (``docs/quantification.md``
has how well); it is no number of millilitres to add or to take away.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML
from infnet_runtime.measure.flags import Flag

MOST_DISAGREEMENT = 0.15  # measured by benchmarks/flip_check.py


@dataclass(frozen=True)
class Flip:
    """A mask, and that of the mirror image.

    Parameters
    ----------
    disagreement
        1 - Dice of both, 0 to 1; 0 where both are empty.
    infection_voxels
        Of the mirror image's.
    differing_voxels
        Marked in one of both.
    """

    disagreement: float
    infection_voxels: int
    differing_voxels: int

    def flags(self, voxel_ml: float | None) -> tuple[Flag, ...]:
        """Whether the scan is to be looked at; less than a counted piece is not worth it."""
        if self.disagreement <= MOST_DISAGREEMENT:
            return ()
        if voxel_ml is not None and self.differing_voxels * voxel_ml < COMPONENT_FLOOR_ML:
            return ()
        return (
            Flag(
                "check_this_scan",
                f"the mask and that of the mirrored slices differ by {100 * self.disagreement:.0f} % "
                f"(1 - Dice), more than {100 * MOST_DISAGREEMENT:.0f} %: the model is not sure of this scan; "
                "look at the mask before its numbers are used",
            ),
        )


def compared(mask: ByteArray, mirrored: ByteArray) -> Flip:
    """Compare two masks.

    Parameters
    ----------
    mask, mirrored : (slice, row, column)
        Infection that counts, 0 or 1; the second found in mirrored slices, and mirrored back.

    Examples
    --------
    >>> one, other = np.zeros((2, 1, 2, 4), np.uint8)
    >>> one[0, 0], other[0, 0, 1:] = 1, 1
    >>> flip = compared(one, other)
    >>> round(flip.disagreement, 3), flip.infection_voxels, flip.differing_voxels
    (0.143, 3, 1)
    """
    voxels, mirrored_voxels, differing = 0, 0, 0
    for plane, other in zip(mask, mirrored, strict=True):
        voxels += int(np.count_nonzero(plane))
        mirrored_voxels += int(np.count_nonzero(other))
        differing += int(np.count_nonzero(plane ^ other))
    both = voxels + mirrored_voxels
    return Flip(differing / both if both else 0.0, mirrored_voxels, differing)
