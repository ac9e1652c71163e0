"""Rounding to half precision: what overflows is refused, what is lost is counted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import AnyArray, HalfArray
from infnet_runtime.errors import GateError

LARGEST_HALF = float(np.finfo(np.float16).max)
_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


@dataclass(frozen=True)
class WeightLoss:
    """A weight that half precision does not hold well.

    Parameters
    ----------
    vanished
        Numbers that became 0, below 6e-8 or so.
    subnormal
        Numbers below 6.1e-5, which keep fewer than 11 bits.
    """

    name: str
    vanished: int
    subnormal: int


def rounded_to_half(singles: Mapping[str, AnyArray], *, advice: str) -> dict[str, HalfArray]:
    """Round weights.

    Parameters
    ----------
    singles
        By name.
    advice
        What to do where one is too large.

    Raises
    ------
    GateError
        If a number is too large; nothing is clipped.
    """
    with np.errstate(over="ignore"):  # that is what is looked for
        halves = {name: single.astype(np.float16) for name, single in singles.items()}
    overflown = sum(int(np.isinf(halves[name]).sum() - np.isinf(singles[name]).sum()) for name in singles)
    if overflown:
        worst = max(singles, key=lambda name: float(np.abs(singles[name]).max()))
        raise GateError(
            f"{overflown} weights are too large for half precision, which ends at {LARGEST_HALF:g}: the "
            f"largest is {np.abs(singles[worst]).max():g} in {worst}; {advice}",
            code=7001,
        )
    return halves


def rounding_loss(name: str, single: AnyArray, half: HalfArray) -> WeightLoss:
    """What the rounding of one weight lost."""
    zero = half == 0
    return WeightLoss(
        name=name,
        vanished=int((zero & (single != 0)).sum()),
        subnormal=int((~zero & (np.abs(half) < _SMALLEST_NORMAL)).sum()),
    )
