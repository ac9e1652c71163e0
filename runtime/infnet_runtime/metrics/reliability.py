"""Whether a probability means what it says: reliability, and the temperature that repairs it.

Of all pixels with probability 0.7, seven in ten should be infected. :func:`reliability` measures it, and
:func:`fit_temperature` finds the temperature that brings a network closest to it (C. Guo et al., "On
Calibration of Modern Neural Networks", ICML 2017, section 4.2); :mod:`infnet_runtime.slices.temperature`
applies it.

Departures from the paper: one class, so the probability of infection is binned and not the confidence of
the class that won; every pixel counts as one example, though neighbours are far from independent.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import BoolArray, DoubleArray, FloatArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics.inputs import check_pair, unit_map
from infnet_runtime.slices.temperature import check_temperature, logit, sigmoid

BINS = 15
"""As in the tables of Guo et al."""

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
"""Where a temperature is looked for; the networks of Guo et al. needed 0.9 to 3."""

_NEWTON_STEPS = 100
_NEWTON_PRECISION = 1e-10  # relative, of the temperature


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Probabilities beside the truth, pixels of all slices in one row.

    Parameters
    ----------
    probability : (pixels,), 0..1
        Of infection.
    infected : (pixels,)
        Mask of the annotator.
    """

    probability: DoubleArray
    infected: BoolArray

    def __post_init__(self) -> None:
        check_pair(self.probability, self.infected, name="calibration")


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels whose probability lies in ``low <= p < high``; the last bin includes 1.

    Parameters
    ----------
    mean_probability, infected_fraction
        What was said and what was true; None where the bin is empty.
    """

    low: float
    high: float
    pixels: int
    mean_probability: float | None
    infected_fraction: float | None


@dataclass(frozen=True)
class Reliability:
    """How well probabilities agree with what was found.

    Parameters
    ----------
    nll
        Negative log-likelihood, mean over pixels, natural logarithm. What the temperature is fitted by.
    brier
        Mean squared distance of probability and truth.
    ece
        Expected calibration error: distance of said and true in each bin, weighted by its pixels.
    """

    nll: float
    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]


def pooled(slices: Iterable[tuple[FloatArray, BoolArray, BoolArray | None]]) -> LabelledPixels:
    """Pixels of several slices, each slice of any size, as one set.

    Parameters
    ----------
    slices
        Probability, truth, and where a pixel counts (such as inside the lungs), all (rows, columns); without
        the last every pixel counts.

    Raises
    ------
    InputError
        If there is no slice or fewer than two pixels count, shapes differ, or a value is no probability.
    """
    probabilities, truths = [], []
    for probability, truth, where in slices:
        check_pair(probability, truth, name="calibration")
        if where is not None:
            check_pair(where, truth, name="calibration, where pixels count")
        inside = np.ones(truth.shape, np.bool_) if where is None else where.astype(np.bool_, copy=False)
        probabilities.append(unit_map(probability)[inside])
        truths.append(truth[inside])
    if not truths:
        raise InputError("calibration: there is no slice, expected at least one", code=3190)
    return LabelledPixels(np.concatenate(probabilities), np.concatenate(truths))


def reliability(pixels: LabelledPixels, *, temperature: float = 1.0, bins: int = BINS) -> Reliability:
    """Compare probabilities, scaled by a temperature, with the truth.

    Parameters
    ----------
    bins
        Number of bins of equal width on 0..1.

    Raises
    ------
    InputError
        If there is no bin, or the temperature is not finite or not above 0.
    """
    check_temperature(temperature)
    if bins < 1:
        raise InputError(f"calibration: {bins} bins, expected 1 or more", code=3191)
    logits, infected = logit(pixels.probability), pixels.infected
    said = pixels.probability if temperature == 1 else sigmoid(logits, temperature)
    which = np.minimum((said * bins).astype(np.intp), bins - 1)
    counts = np.bincount(which, minlength=bins)
    said_sums = np.bincount(which, weights=said, minlength=bins)
    true_sums = np.bincount(which, weights=infected, minlength=bins)
    return Reliability(
        nll=_nll(logits / temperature, infected),
        brier=float(np.square(said - infected).mean()),
        ece=float(np.abs(said_sums - true_sums).sum() / said.size),
        bins=tuple(
            ReliabilityBin(
                low=i / bins,
                high=(i + 1) / bins,
                pixels=int(n),
                mean_probability=float(said_sums[i] / n) if n else None,
                infected_fraction=float(true_sums[i] / n) if n else None,
            )
            for i, n in enumerate(counts)
        ),
    )


def fit_temperature(pixels: LabelledPixels) -> float:
    """The temperature with the smallest negative log-likelihood.

    The likelihood is convex in ``1 / T``, so there is one minimum: Newton's method on its derivative, kept
    inside a bracket that shrinks.

    Parameters
    ----------
    pixels
        With the network's own probabilities, of slices that no result will be reported on.

    Raises
    ------
    InputError
        If all pixels are infected or none is, or the best temperature lies outside 0.05 to 20.
    """
    infected = int(np.count_nonzero(pixels.infected))
    if infected in (0, pixels.infected.size):
        raise InputError(
            f"calibration: {infected} of {pixels.infected.size} pixels are infected, a temperature needs "
            "both infected and healthy ones; give slices with infection",
            code=3192,
        )
    logits = logit(pixels.probability)

    def slope_and_curvature(inverse: float) -> tuple[float, float]:
        p = sigmoid(logits, 1 / inverse)
        return float(((p - pixels.infected) * logits).mean()), float((p * (1 - p) * logits**2).mean())

    low, high = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE
    if slope_and_curvature(low)[0] >= 0 or slope_and_curvature(high)[0] <= 0:
        raise InputError(
            f"calibration: no temperature from {LOWEST_TEMPERATURE:g} to {HIGHEST_TEMPERATURE:g} is best; "
            "the probabilities say nothing about these labels or separate them without a fault. "
            "Look at the slices, their labels and how they are turned",
            code=3193,
        )
    inverse = 1.0
    for _ in range(_NEWTON_STEPS):
        slope, curvature = slope_and_curvature(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        before, inverse = inverse, step if low < step < high else (low + high) / 2
        if abs(inverse - before) <= _NEWTON_PRECISION * before:
            break
    return 1 / inverse


def _nll(logits: DoubleArray, infected: BoolArray) -> float:
    return float((np.logaddexp(0, logits) - infected * logits).mean())
