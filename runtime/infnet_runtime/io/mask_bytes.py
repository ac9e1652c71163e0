"""What every writer asks of a mask or map before it is written."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray, HalfArray
from infnet_runtime.errors import OutputError
from infnet_runtime.scan.ct import CtVolume

LabelNames: TypeAlias = Mapping[str, Mapping[str, str]]
"""Value of a label map, as text, to the name and the code of what it marks."""


def mask_bytes(mask: AnyArray, volume: CtVolume) -> ByteArray:
    """Mask as bytes, refused when it does not belong to the volume.

    Parameters
    ----------
    mask : (i, j, k)
        Booleans or labels 0..255.
    volume
        The scan.

    Raises
    ------
    OutputError
        If shape or values do not fit.
    """
    _refuse_other_shape(mask, volume)
    if mask.dtype.kind not in "bui" or (mask.dtype.kind != "b" and (mask.min() < 0 or mask.max() > 255)):
        raise OutputError(
            f"expected booleans or labels 0..255 in the mask of {volume.source}, found {mask.dtype}",
            code=8009,
        )
    return mask.view(np.uint8) if mask.dtype == np.bool_ else mask.astype(np.uint8, copy=False)


def probability_map(probability: AnyArray, volume: CtVolume) -> HalfArray:
    """Probabilities as the segmenter gives them, refused when they do not belong to the volume.

    Parameters
    ----------
    probability : (i, j, k), 0..1
        float16.
    volume
        The scan.

    Raises
    ------
    OutputError
        If shape or type do not fit.
    """
    _refuse_other_shape(probability, volume)
    if probability.dtype != np.float16:
        raise OutputError(
            f"expected probabilities in float16 for {volume.source}, found {probability.dtype}", code=8009
        )
    return probability


def _refuse_other_shape(array: AnyArray, volume: CtVolume) -> None:
    if array.shape != volume.voxels.shape:
        raise OutputError(
            f"the mask has shape {array.shape}, {volume.source} has {volume.voxels.shape}; give it in the "
            "order of the file (CtVolume.from_lps)",
            code=8009,
        )
