"""What the metrics accept: a finite map in [0, 1] or in 8 bits, and a boolean truth of the same shape."""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray, DoubleArray
from infnet_runtime.errors import InputError

Map = npt.NDArray[np.floating] | ByteArray | BoolArray


def check_pair(prediction: Map, truth: BoolArray, *, name: str) -> None:
    """Refuse a pair whose score would be meaningless or not a number.

    Parameters
    ----------
    prediction : (..., rows, columns)
        Probability in [0, 1], a map in 8 bits, or a mask.
    truth : (..., rows, columns)
        Mask of the annotator.
    name
        What the message calls the pair.

    Raises
    ------
    InputError
        If the types or shapes differ from this, or a value is not finite or out of range.
    """
    if truth.dtype != np.bool_:
        raise InputError(
            f"{name}: the truth is {truth.dtype}, expected bool; threshold it first, "
            "for 8 bits with truth > 128",
            code=3080,
        )
    if prediction.shape != truth.shape:
        raise InputError(
            f"{name}: the prediction has shape {prediction.shape}, the truth {truth.shape}, "
            "expected the same; bring the prediction back to the grid of the truth",
            code=3081,
        )
    if truth.size < 2:
        raise InputError(f"{name}: shape {truth.shape} holds fewer than 2 pixels", code=3082)
    if prediction.dtype in (np.uint8, np.bool_):
        return
    if not np.issubdtype(prediction.dtype, np.floating):
        raise InputError(
            f"{name}: the prediction is {prediction.dtype}, expected bool, uint8 or floating", code=3083
        )
    low, high = float(prediction.min()), float(prediction.max())  # a NaN anywhere makes both NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(prediction)))
        raise InputError(
            f"{name}: {bad} of {prediction.size} values of the prediction are NaN or infinite; "
            "a score of it would be meaningless",
            code=3084,
        )
    if low < 0 or high > 1:
        raise InputError(
            f"{name}: the prediction reaches from {low:g} to {high:g}, expected [0, 1]; "
            "apply the sigmoid, or give 8 bits as uint8",
            code=3085,
        )


def check_image(truth: BoolArray, *, name: str) -> None:
    """Refuse what is not one image."""
    if truth.ndim != 2:
        raise InputError(f"{name} scores one image at a time, found shape {truth.shape}", code=3087)


def unit_map(prediction: Map) -> DoubleArray:
    """Prediction as double precision in [0, 1]; 8 bits are divided by 255."""
    values = prediction.astype(np.float64)
    return values / 255 if prediction.dtype == np.uint8 else values
