"""How far two lung masks of one scan differ: the check of one way to find lungs by another.

The two directions mean different things. Lung that only thresholds find is air the network does not take for
lung: bowel gas, the air under a table, or an error of the network. Lung that only the network finds is dense:
consolidation, a white lung, or again an error. One Dice would hide which it is.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import ByteArray


@dataclass(frozen=True)
class LungDisagreement:
    """Shares of the network's lungs; both 0 where the masks are equal.

    Parameters
    ----------
    only_threshold
        What only thresholds find.
    only_network
        What only the network finds.
    other_side
        What both find, on different sides.
    """

    only_threshold: float
    only_network: float
    other_side: float


def disagreement(network: ByteArray, threshold: ByteArray) -> LungDisagreement | None:
    """Compare the lungs found by the network with those found by thresholds.

    Parameters
    ----------
    network, threshold : (slice, row, column)
        1 the right lung, 2 the left.

    Returns
    -------
    Nothing if neither finds any lung. Where only thresholds do, their lung counts as one whole: 1.

    Examples
    --------
    >>> a, b = np.array([[[1, 1, 1, 2]]], np.uint8), np.array([[[0, 1, 2, 2]]], np.uint8)
    >>> disagreement(a, b)
    LungDisagreement(only_threshold=0.0, only_network=0.25, other_side=0.25)
    """
    found = missed = extra = other = 0
    for one, two in zip(network, threshold, strict=True):
        in_one, in_two = one > 0, two > 0
        found += int(np.count_nonzero(in_one))
        missed += int(np.count_nonzero(in_two & ~in_one))
        extra += int(np.count_nonzero(in_one & ~in_two))
        other += int(np.count_nonzero(in_one & in_two & (one != two)))
    whole = found or missed
    if not whole:
        return None
    return LungDisagreement(missed / whole, extra / whole, other / whole)
