"""How far two lung masks of one scan differ: the check of one way to find lungs by another.

The two directions mean different things. Lung that only thresholds find is air the network does not take for
lung: bowel gas, the air under a table, or an error of the network. Lung that only the network finds is dense:
consolidation, a white lung, or again an error. One Dice would hide which it is.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.lungs.below import slices_below
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT


@dataclass(frozen=True)
class LungDisagreement:
    """Shares of the network's lungs; all are 0 where the masks are equal.

    Parameters
    ----------
    only_threshold
        What only thresholds find.
    only_network
        What only the network finds.
    other_side
        What both find, on different sides.
    below
        What lies below a lung and becomes wider there (:func:`~infnet_runtime.lungs.below.slices_below`).
    """

    only_threshold: float
    only_network: float
    other_side: float
    below: float = 0.0


class Comparison:
    """Lungs found in two ways, compared slice by slice from the feet on."""

    def __init__(self) -> None:
        self._found = self._missed = self._extra = self._other = 0
        self._slices: list[list[tuple[int, int]]] = []  # by side: lung, and what of it thresholds see too

    def add(self, network: ByteArray, threshold: ByteArray) -> None:
        """Count one slice.

        Parameters
        ----------
        network, threshold : (row, column)
            1 the right lung, 2 the left; 3 one of unknown side, which is on no other side.
        """
        in_one, in_two = network > 0, threshold > 0
        self._found += int(np.count_nonzero(in_one))
        self._missed += int(np.count_nonzero(in_two & ~in_one))
        self._extra += int(np.count_nonzero(in_one & ~in_two))
        other = in_one & in_two & (network != threshold) & (threshold != EITHER)
        self._other += int(np.count_nonzero(other))
        sides = (network == RIGHT, network == LEFT)
        self._slices.append(
            [(int(np.count_nonzero(own)), int(np.count_nonzero(own & in_two))) for own in sides]
        )

    def result(self) -> LungDisagreement | None:
        """Nothing if neither way found any lung. Where only thresholds did, their lung is one whole: 1."""
        whole = self._found or self._missed
        if not whole:
            return None
        sides = np.array(self._slices).transpose(1, 2, 0)
        below = sum(int(lung[: slices_below(lung, air)].sum()) for lung, air in sides)
        return LungDisagreement(self._missed / whole, self._extra / whole, self._other / whole, below / whole)


def disagreement(network: ByteArray, threshold: ByteArray) -> LungDisagreement | None:
    """Compare the lungs found by the network with those found by thresholds.

    Parameters
    ----------
    network, threshold : (slice, row, column)
        As of :meth:`Comparison.add`.

    Returns
    -------
    As of :meth:`Comparison.result`.

    Examples
    --------
    >>> a, b = np.array([[[1, 1, 1, 2]]], np.uint8), np.array([[[0, 1, 2, 2]]], np.uint8)
    >>> disagreement(a, b)
    LungDisagreement(only_threshold=0.0, only_network=0.25, other_side=0.25, below=0.0)
    """
    compared = Comparison()
    for one, two in zip(network, threshold, strict=True):
        compared.add(one, two)
    return compared.result()
