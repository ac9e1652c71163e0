"""Whole numbers from whatever holds labels: bytes, floats, booleans, numbers that went through a scaling."""

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError
from infnet_runtime.scan.ct import slabs

# Floats stored as scaled integers come back this close to their label: a byte that spans 0..5 is off by 0.01.
_ROUNDING = 0.02
_LARGEST = 2**31 - 1


def whole_labels(values: AnyArray, name: str) -> AnyArray:
    """Labels as bytes where they fit, else as 32-bit integers.

    Parameters
    ----------
    values : (i, j, k)
        Numbers of any type, or booleans.
    name
        What the message calls them.

    Raises
    ------
    InputError
        If a value is not finite, negative, or lies between whole numbers.

    Examples
    --------
    >>> whole_labels(np.array([[[0.0, 1.99999, 1.0]]]), "lungs.nii.gz")
    array([[[0, 2, 1]]], dtype=uint8)
    """
    if values.size == 0 or values.dtype in (np.uint8, np.bool_):
        return values.view(np.uint8) if values.dtype == np.bool_ else values
    lowest, highest = values.min(), values.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in slabs(values))
        raise InputError(
            f"{name} has {bad} voxels that are not finite (NaN or infinite), expected labels: whole numbers "
            "from 0 on; write 0 where nothing is marked",
            code=3063,
        )
    if lowest < 0 or highest > _LARGEST:
        raise InputError(
            f"{name} has values {lowest:g}..{highest:g}, expected labels: whole numbers from 0 on; give the "
            "mask, not the scan, and write 0 where nothing is marked",
            code=3063,
        )
    whole: AnyArray = np.empty_like(values, np.uint8 if highest < 255.5 else np.int32)
    for target, slab in zip(slabs(whole), slabs(values), strict=True):
        nearest = np.rint(slab) if values.dtype.kind == "f" else slab
        between = np.abs(slab - nearest) > _ROUNDING
        if between.any():
            raise InputError(
                f"{name} has values between the labels, such as {slab[between][0]:g}; expected whole "
                "numbers. Resample a mask with nearest neighbours, and cut probabilities at 0.5",
                code=3063,
            )
        target[...] = nearest
    return whole
