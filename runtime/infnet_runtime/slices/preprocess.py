"""From slices of a scan to network input, and from network output back to the scan's grid.

The one implementation of the contract in :class:`~infnet_runtime.model.manifest.PreprocessSpec`; training
calls it too. Nothing here depends on the values of the slice at hand: no stretching to its own range, in or
out, so that a healthy slice can give an empty mask.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.planes import contiguous
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.slices.temperature import network_threshold, with_temperature

# The probability whose sides with_temperature keeps, bit for bit.
_SIDE_KEPT = 0.5
# A resize can round above the largest of its pixels, by 2e-7 of it; so can logarithm and exponential.
_ROUNDING_MARGIN = 1e-3
# Above the probability at which with_temperature cuts logits, 1e-7.
_LEAST_LOGIT = 1e-6
# New pixels in one product of the resize; 8 to 32 take about the same time.
_LARGEST_BAND = 16
# Products of up to this many multiplications stay in one thread (OpenBLAS, interface/gemm.c:
# SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD).
_ONE_THREAD_OPERATIONS = 65536 * 4

Band: TypeAlias = tuple[slice, slice, FloatArray]
"""Some neighbouring new pixels, the pixels they are made of, and the weights, (new pixels, pixels)."""


def to_network(slices: Voxels, intensity: Intensity, spec: PreprocessSpec) -> FloatArray:
    """Network input of some slices, cropped already, each by itself: it is its own neighbour.

    Slices of a volume go through :func:`~infnet_runtime.slices.neighbours.volume_to_network`.

    Parameters
    ----------
    slices : (n, rows, columns), HU or 8-bit grey
        Canonical orientation: rows front to back, columns from the patient's right to left.
    intensity
        Whether ``slices`` are HU, and get the window, or windowed grey (0..255), and do not.

    Returns
    -------
    (n, channels, size, size)
    """
    grey = resize(to_grey(slices, intensity, spec), spec.size, spec.size)
    return normalise(grey, spec)


def to_grey(slices: Voxels, intensity: Intensity, spec: PreprocessSpec) -> FloatArray:
    """Grey values 0..1: the lung window for HU, a division by 255 for windowed 8-bit input."""
    values = np.empty(slices.shape, np.float32)
    one_by_one = (values, slices) if slices.ndim > 2 else (values[None], slices[None])
    for target, plane in zip(*one_by_one, strict=True):
        target[...] = contiguous(plane)
    return window_in_place(values, intensity, spec.window_hu)


def window_in_place(values: FloatArray, intensity: Intensity, window_hu: tuple[float, float]) -> FloatArray:
    """:func:`to_grey` for values of any shape that may be overwritten; returns them."""
    if intensity is Intensity.WINDOWED:
        values /= np.float32(255)
        return values
    low, high = (np.float32(v) for v in window_hu)
    values -= low
    values /= high - low
    return np.clip(values, 0, 1, out=values)


def normalise(grey: FloatArray, spec: PreprocessSpec) -> FloatArray:
    """Equal channels, normalised: (n, size, size) in 0..1 -> (n, channels, size, size)."""
    return normalise_planes(grey[:, None], spec)


def normalise_planes(planes: FloatArray, spec: PreprocessSpec) -> FloatArray:
    """Channels in 0..1, or one for all of them, (n, 1 or channels, size, size) -> normalised channels."""
    mean = np.asarray(spec.mean, np.float32)[:, None, None]
    std = np.asarray(spec.std, np.float32)[:, None, None]
    normalised: FloatArray = planes - mean  # (n, ..., size, size) -> (n, channels, size, size)
    normalised /= std
    return normalised


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


def infected_on_grid(
    probability: FloatArray, rows: int, columns: int, *, threshold: float, temperature: float = 1.0
) -> BoolArray:
    """Where the probability of :func:`from_network` reaches a threshold, without computing all of it.

    The resize averages, so a slice that stays below the threshold on the network's grid does so on every
    grid, and no temperature moves a probability across 0.5.

    Parameters
    ----------
    probability : (n, size, size)
        The network's own.
    threshold, temperature
        Of the model.

    Returns
    -------
    (n, rows, columns)
        Bit for bit ``from_network(...) >= threshold``.
    """
    temperature = needed_temperature(threshold, temperature)
    infected = np.zeros((len(probability), rows, columns), np.bool_)
    least = least_reaching(threshold, temperature)
    for k in np.flatnonzero(probability.max(axis=(1, 2)) >= least):
        resized = from_network(probability[k : k + 1], rows, columns, temperature=temperature)
        np.greater_equal(resized[0], threshold, out=infected[k])
    return infected


def needed_temperature(threshold: float, temperature: float) -> float:
    """The temperature that a mask depends on: none where the threshold is the side that it keeps."""
    return 1.0 if threshold == _SIDE_KEPT else temperature


def least_reaching(threshold: float, temperature: float) -> float:
    """The network's own probability below which no pixel reaches a threshold on any grid, whatever rounds."""
    least = network_threshold(threshold, temperature) * (1 - _ROUNDING_MARGIN)
    # with_temperature cuts logits, so that even 0 can reach such a threshold
    return 0.0 if least < _LEAST_LOGIT else least


def predict_slice(
    grey: ByteArray,
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
    n, height, width = images.shape
    half = np.empty((rows, width), np.float32)
    resized = np.empty((n, rows, columns), np.float32)
    for image, result in zip(images, resized, strict=True):
        resize_bands(image, half, result, bands(height, rows, width), bands(width, columns, rows))
    return resized


def resize_bands(
    image: FloatArray,
    half: FloatArray,
    result: FloatArray,
    of_rows: Iterable[Band],
    of_columns: Iterable[Band],
) -> None:
    """:func:`resize` of one image where bands of rows and columns meet; elsewhere the results mean nothing.

    A product has the same shape whichever bands are left out, so its numbers are the same to the bit.

    Parameters
    ----------
    image : (h, w)
    half : (rows, w)
        Written to where there are bands of rows.
    result : (rows, columns)
        Written to where there are bands of columns.
    """
    for target, source, weights in of_rows:
        np.matmul(weights, image[source], out=half[target])
    for target, source, weights in of_columns:
        np.matmul(half[:, source], weights.T, out=result[:, target])


@lru_cache(maxsize=32)
def bands(length: int, new_length: int, across: int) -> tuple[Band, ...]:
    """Blocks along the diagonal of :func:`resize_matrix`.

    A triangle reaches over a few pixels, so nearly all of the matrix is zero. The blocks leave the zeros out:
    a tenth of the time, and each product is so small that OpenBLAS does it in the thread that asked. Whole
    matrices go to a pool of its own, whose threads wait in a busy loop.

    Parameters
    ----------
    across : pixels
        Length of the other axis.
    """
    matrix = resize_matrix(length, new_length)
    support = max(length / new_length, 1.0)
    size = _LARGEST_BAND
    while size > 1 and size * ((size + 2) * support) * across > _ONE_THREAD_OPERATIONS:
        size //= 2
    found = []
    for start in range(0, new_length, size):
        part = matrix[start : start + size]
        used = np.flatnonzero(part.any(axis=0))
        source = slice(int(used[0]), int(used[-1]) + 1)
        weights = np.ascontiguousarray(part[:, source])
        weights.setflags(write=False)
        found.append((slice(start, start + len(part)), source, weights))
    return tuple(found)


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
