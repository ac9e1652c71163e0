"""Whether a slice is upright: the two lungs lie side by side, not one above the other.

A picture says nothing about how its patient lay. Between two lungs that lie side by side there is a column
with little lung, and no row without; in a picture turned by a quarter it is the other way round. A picture
upside down, or mirrored, is not noticed.
"""

import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_runtime.measure.flags import Flag
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask

# Below it a single slice is called sideways. The least of 300 upright slices of 12 sets is -.25; of the same
# slices turned, 85 of 100 that show both lungs in full lie below -.25, and fewer below this limit.
_SIDEWAYS = -0.35
_SIDE = 96  # pixels of the reduced box around the lungs
_LEAST_LUNG = 0.03  # of the picture; less says nothing


def upright_doubts(scan: CtVolume, lungs: LungMask) -> tuple[Flag, ...]:
    """A flag where a picture seems to be turned by a quarter; scans with a size say how they lie."""
    if scan.grid.has_size:
        return ()
    found = side_by_side(np.asarray(lungs.to_lps()[0] > 0))
    if found is None or found > _SIDEWAYS:
        return ()
    return (
        Flag(
            "lungs_sideways",
            "the lungs lie one above the other, not side by side: the picture seems to be turned by a "
            "quarter, and sides and marks are wrong; turn it so that the patient's front is at the top and "
            "the right side at the left edge",
        ),
    )


def side_by_side(lung: BoolArray) -> float | None:
    """How much the lungs of a slice lie side by side: 1 where they do, -1 where one is above the other.

    It is the least share of lung of a row in the middle third of their box, less that of a column. One lung
    alone gives about 0.

    Parameters
    ----------
    lung : (rows, columns)

    Returns
    -------
    None where there is hardly any lung

    Examples
    --------
    >>> two = np.zeros((40, 60), bool)
    >>> two[5:35, 5:25] = two[5:35, 35:55] = True
    >>> round(side_by_side(two), 2), round(side_by_side(two.T), 2)
    (0.8, -0.8)
    """
    if lung.mean() < _LEAST_LUNG:
        return None
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    box = lung[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    reduced = cv2.resize(box, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    shares = (reduced.mean(axis=axis)[_SIDE // 3 : 2 * _SIDE // 3] for axis in (1, 0))
    row, column = (float(np.convolve(share, np.ones(3) / 3, "valid").min()) for share in shares)
    return row - column
