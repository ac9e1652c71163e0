"""From slices of a scan to network input, and from network output back to the scan's grid.

The one implementation of the contract in :class:`~infnet_runtime.manifest.PreprocessSpec`; training calls it
too. Nothing here depends on the values of the slice at hand: no stretching to its own range, in or out, so
that a healthy slice can give an empty mask.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from infnet_runtime.calibration import with_temperature
from infnet_runtime.manifest import PreprocessSpec
from infnet_runtime.volume import Intensity

FloatArray = npt.NDArray[np.float32]


def to_network(slices: npt.NDArray[np.generic], intensity: Intensity, spec: PreprocessSpec) -> FloatArray:
    """Network input of some slices, cropped already.

    Parameters
    ----------
    slices : (n, rows, columns), HU or 8-bit grey
        Canonical orientation: rows front to back, columns from the patient's right to left.
    intensity
        Whether ``slices`` are HU, and get the window, or windowed grey (0..255), and do not.

    Returns
    -------
    (n, 3, size, size)
    """
    grey = resize(to_grey(slices, intensity, spec), spec.size, spec.size)
    return normalise(grey, spec)


def to_grey(slices: npt.NDArray[np.generic], intensity: Intensity, spec: PreprocessSpec) -> FloatArray:
    """Grey values 0..1: the lung window for HU, a division by 255 for windowed 8-bit input."""
    values = slices.astype(np.float32)
    if intensity is Intensity.WINDOWED:
        return values / np.float32(255)
    low, high = (np.float32(v) for v in spec.window_hu)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def normalise(grey: FloatArray, spec: PreprocessSpec) -> FloatArray:
    """Three equal channels, normalised: (n, size, size) in 0..1 -> (n, 3, size, size)."""
    mean = np.asarray(spec.mean, np.float32)[:, None, None]
    std = np.asarray(spec.std, np.float32)[:, None, None]
    planes: FloatArray = (grey[:, None] - mean) / std  # (n, size, size) -> (n, 3, size, size)
    return planes


def from_network(probability: FloatArray, rows: int, columns: int, *, temperature: float = 1.0) -> FloatArray:
    """Probabilities on the scan's grid: the inverse of the resize in :func:`to_network`, then calibrated.

    The temperature comes after the resize, so that a mask at threshold 0.5 is the same with any temperature,
    and because it is fitted on the scan's grid.

    Parameters
    ----------
    probability : (n, size, size)
        The network's own.
    temperature
        Of the model, ``manifest.output.temperature``; 1 leaves the probabilities as they are, bit for bit.

    Returns
    -------
    (n, rows, columns)
    """
    return with_temperature(resize(probability, rows, columns), temperature)


def predict_slice(
    grey: npt.NDArray[np.uint8],
    spec: PreprocessSpec,
    run: Callable[[FloatArray], FloatArray],
    *,
    temperature: float = 1.0,
) -> FloatArray:
    """Probability of one windowed slice: the whole slice at network size, the result back at its own size.

    Parameters
    ----------
    grey : (rows, columns), 8-bit grey
    run
        Network input (1, 3, size, size) to probability (1, size, size).
    temperature
        As of :func:`from_network`.

    Returns
    -------
    (rows, columns)
    """
    return predict_grey(to_grey(grey, Intensity.WINDOWED, spec), spec, run, temperature=temperature)


def predict_grey(
    grey: FloatArray,
    spec: PreprocessSpec,
    run: Callable[[FloatArray], FloatArray],
    *,
    temperature: float = 1.0,
) -> FloatArray:
    """:func:`predict_slice` for grey that is 0..1 already, (rows, columns)."""
    batch = normalise(resize(grey[None], spec.size, spec.size), spec)
    # (1, rows, columns) -> (rows, columns)
    probability = from_network(run(batch), *grey.shape, temperature=temperature)[0]
    return np.asarray(np.clip(probability, 0, 1), np.float32)  # the resize can round above 1


def resize(images: FloatArray, rows: int, columns: int) -> FloatArray:
    """Separable triangle filter, antialiased where it shrinks.

    The filter of Pillow's ``BILINEAR``, with which the training slices of the paper were resized, without
    its rounding to 8 bit. Where it enlarges it is bilinear interpolation with half-pixel centres.

    Parameters
    ----------
    images : (n, h, w)

    Returns
    -------
    (n, rows, columns)
    """
    vertical = resize_matrix(images.shape[1], rows)
    horizontal = resize_matrix(images.shape[2], columns)
    return np.asarray(vertical @ images @ horizontal.T, np.float32)


@lru_cache(maxsize=32)
def resize_matrix(length: int, new_length: int) -> FloatArray:
    """Weights of :func:`resize` along one axis; each row sums to 1.

    Returns
    -------
    (new_length, length), read-only

    Examples
    --------
    >>> resize_matrix(4, 2).tolist()
    [[0.42857..., 0.42857..., 0.14285..., 0.0], [0.0, 0.14285..., 0.42857..., 0.42857...]]
    """
    scale = length / new_length
    support = max(scale, 1.0)  # half width of the triangle in input pixels
    centres = (np.arange(new_length) + 0.5) * scale
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    matrix: FloatArray = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    matrix.setflags(write=False)
    return matrix
