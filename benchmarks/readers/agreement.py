"""How well two or more readers agree: on a volume case by case, and on where the lesions are.

Bland and Altman, Lancet 1986 (limits of agreement); McGraw and Wong, Psychological Methods 1996, case 2A
(ICC(A,1): two-way, absolute agreement, single measurement; Shrout and Fleiss call it ICC(2,1)); Lin,
Biometrics 1989 (concordance). Intervals are percentiles of a bootstrap over patients: two series of one
patient are drawn together, since they are no two witnesses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp

import cc3d
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray
from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML

Values = npt.NDArray[np.float64]

LIMIT = 1.96
"""Standard deviations from the bias to a limit of agreement: 95 % of normal differences."""

GROWS = 0.5
"""Correlation of the distance from the bias with the size, above which limits are given as a ratio."""


@dataclass(frozen=True)
class Limits:
    """Bias and limits of agreement, in the unit of the values, or as ratios."""

    bias: float
    low: float
    high: float


@dataclass(frozen=True)
class BlandAltman:
    """Differences of two series of measurements of the same cases, first less second.

    Parameters
    ----------
    spread_grows
        Whether differences grow with what is measured; then :func:`ratio_limits` say more.
    """

    cases: int
    difference: Limits
    spread_grows: bool


def bland_altman(first: Values, second: Values) -> BlandAltman:
    """Bias and limits of agreement.

    Parameters
    ----------
    first, second : (cases,)

    Examples
    --------
    >>> bland_altman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])).difference
    Limits(bias=0.0, low=-1.96, high=1.96)
    """
    difference, size = first - second, (first + second) / 2
    return BlandAltman(
        cases=len(first),
        difference=_limits(difference),
        spread_grows=_correlation(np.abs(difference - difference.mean()), size) > GROWS,
    )


def ratio_limits(first: Values, second: Values) -> Limits | None:
    """Bias and limits of agreement of first / second, found on a log scale.

    Returns
    -------
    None where a value is 0, and with fewer than two cases.
    """
    if len(first) < 2 or not (first.all() and second.all()):
        return None
    found = _limits(np.log(first / second))
    return Limits(exp(found.bias), exp(found.low), exp(found.high))


def _limits(differences: Values) -> Limits:
    bias, spread = float(differences.mean()), LIMIT * float(differences.std(ddof=1))
    return Limits(bias, bias - spread, bias + spread)


def _correlation(first: Values, second: Values) -> float:
    if not (first.std() and second.std()):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def icc_a1(values: Values) -> float | None:
    """ICC(A,1) of readers who measured the same cases.

    Parameters
    ----------
    values : (cases, readers)

    Returns
    -------
    None where nothing differs.

    Examples
    --------
    >>> icc_a1(np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]))
    1.0
    """
    n, k = values.shape
    mean = values.mean()
    cases, readers = values.mean(axis=1), values.mean(axis=0)
    between_cases = k * float(((cases - mean) ** 2).sum()) / (n - 1)
    between_readers = n * float(((readers - mean) ** 2).sum()) / (k - 1)
    rest = float(((values - cases[:, None] - readers[None, :] + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    total = between_cases + (k - 1) * rest + k / n * (between_readers - rest)
    return (between_cases - rest) / total if total > 0 else None


def lins_ccc(first: Values, second: Values) -> float | None:
    """Lin's concordance: how near the pairs lie to the line of equality; None where nothing differs.

    Examples
    --------
    >>> lins_ccc(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    1.0
    """
    covariance = float(((first - first.mean()) * (second - second.mean())).mean())
    total = float(first.var() + second.var() + (first.mean() - second.mean()) ** 2)
    return 2 * covariance / total if total > 0 else None


def bootstrap(
    measure: Callable[[list[int]], float | None], patients: Sequence[str], *, draws: int, seed: int
) -> tuple[float, float] | None:
    """95 % interval of a measure over cases, patients drawn with all their cases.

    Parameters
    ----------
    measure
        Of the cases with these numbers, one number several times where it was drawn so. A draw for which it
        is None is left out.
    patients : (cases,)
        Whose case it is.

    Returns
    -------
    The 2.5th and the 97.5th percentile; None with fewer than three patients, or where every draw is left out,
    as those are that hold one patient alone.
    """
    names = sorted(set(patients))
    if len(names) < 3:
        return None
    own = [[i for i, patient in enumerate(patients) if patient == name] for name in names]
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = random.integers(0, len(names), len(names))
        if len(set(drawn.tolist())) == 1:
            continue
        value = measure([i for patient in drawn for i in own[patient]])
        if value is not None:
            found.append(value)
    if not found:
        return None
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def dice(first: BoolArray, second: BoolArray) -> float | None:
    """Of two masks; None where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


@dataclass(frozen=True)
class Lesions:
    """Lesions of one mask, and how many of them another mask has.

    Parameters
    ----------
    touched, half
        Of which the other mask has any voxel, and at least half of all.
    """

    number: int
    touched: int
    half: int


def lesions_found(reader: BoolArray, other: BoolArray, voxel_ml: float) -> Lesions:
    """Lesions of ``reader``, and those ``other`` has.

    They are what :func:`infnet_runtime.measure.quantify` counts: components that may touch at a corner, of
    ``COMPONENT_FLOOR_ML`` or more.

    Parameters
    ----------
    reader, other : (slices, rows, columns)
    """
    labels = cc3d.connected_components(reader.view(np.uint8), connectivity=26)
    size = np.bincount(labels.ravel())
    common = np.bincount(labels[other], minlength=len(size))
    is_lesion = size * voxel_ml >= COMPONENT_FLOOR_ML * (1 - 1e-9)
    is_lesion[0] = False
    return Lesions(
        number=int(is_lesion.sum()),
        touched=int((is_lesion & (common > 0)).sum()),
        half=int((is_lesion & (2 * common >= size)).sum()),
    )
