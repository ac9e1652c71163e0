"""The temperature of a model: one number that makes its probabilities more or less careful.

``p' = sigmoid(logit(p) / T)``; ``T`` above 1 makes an overconfident network more careful (C. Guo et al., "On
Calibration of Modern Neural Networks", ICML 2017, section 4.2). The order of the pixels stays, and so does
the side of 0.5 on which each one lies. How it is fitted: :mod:`infnet_runtime.metrics.reliability`.
"""

import math

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import DoubleArray, FloatArray
from infnet_runtime.errors import InputError

# A float32 sigmoid ends at 1 - 6e-8, so logits are cut a little before that, on both sides alike: at 16.1.
_SMALLEST = 1e-7
_HALF = np.float32(0.5)
_BELOW_HALF = np.nextafter(_HALF, np.float32(0))


def with_temperature(probability: FloatArray, temperature: float) -> FloatArray:
    """Probabilities as they are after scaling; the array itself at temperature 1.

    Parameters
    ----------
    probability : any shape
        The network's own, 0..1.
    temperature
        Finite and above 0. No pixel changes its side of 0.5, not even by rounding.

    Raises
    ------
    InputError
        If the temperature is not finite or not above 0.

    Examples
    --------
    >>> with_temperature(np.array([0.1, 0.5, 0.9], np.float32), 2.0).round(3).tolist()
    [0.25, 0.5, 0.75]
    """
    check_temperature(temperature)
    if temperature == 1:
        return probability
    scaled = sigmoid(logit(probability), temperature).astype(np.float32)
    return np.where(probability < _HALF, np.minimum(scaled, _BELOW_HALF), scaled)


def without_temperature(probability: FloatArray, temperature: float) -> FloatArray:
    """The network's own probabilities, given those that :func:`with_temperature` made.

    For the paper's protocol, which scores what the network gives. Near 0 and 1 it is exact to the rounding of
    the probability.

    Examples
    --------
    >>> own = without_temperature(np.array([0.25, 0.5, 0.75], np.float32), 2.0)
    >>> [round(float(p), 3) for p in own]
    [0.1, 0.5, 0.9]
    """
    check_temperature(temperature)
    return with_temperature(probability, 1 / temperature)


def network_threshold(threshold: float, temperature: float) -> float:
    """The threshold on the network's own probability that equals ``threshold`` on the scaled one.

    Examples
    --------
    >>> round(network_threshold(0.25, 2.0), 3)
    0.1
    """
    check_temperature(temperature)
    return threshold if temperature == 1 else float(sigmoid(logit(np.array(threshold)), 1 / temperature))


def check_temperature(temperature: float) -> None:
    """Refuse what is no temperature.

    Raises
    ------
    InputError
        If it is not finite or not above 0.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(
            f"calibration: temperature is {temperature}, expected a finite number above 0", code=3194
        )


def logit(probability: npt.NDArray[np.floating]) -> DoubleArray:
    """Logits of probabilities of any shape, cut at 16.1 on both sides."""
    p = np.clip(probability.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def sigmoid(logits: DoubleArray, temperature: float) -> DoubleArray:
    """Probabilities of logits of any shape that a temperature divides."""
    with np.errstate(over="ignore"):  # a tiny temperature: infinite logits give 0 and 1
        scaled = logits / temperature
    small = np.exp(-np.abs(scaled))
    return np.asarray(np.where(scaled >= 0, 1.0, small) / (1 + small), np.float64)
