"""Voxels whose stored numbers need a slope and an intercept, read as values without a second volume.

``Rescaled`` stands where an array of voxels stands: what is taken out of it, a plane or a part, are values.
Nothing that takes it for an array sees stored numbers: NumPy is given the values too, all of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError

# Types that are read as they are where no scaling changes them.
_READ_AS_THEY_ARE = (np.uint8, np.int16, np.uint16, np.int32)
# Up to here float32 holds every whole number.
_EXACT_FLOAT32 = 2.0**24


@dataclass(frozen=True, eq=False)
class Rescaled(NDArrayOperatorsMixin):
    """Voxels with value = slope * stored + intercept; made by :func:`rescaled`.

    A plane, a row or a voxel is an array of values; what keeps three axes is a view of the same
    numbers. Operators and NumPy's functions work too, and take the memory of all values.

    Parameters
    ----------
    stored : (i, j, k)
        Numbers of any type and strides; not changed, and not to be changed meanwhile.
    slope, intercept
        Slope above 0.
    dtype
        Type of the values: whole numbers only if every value is one and fits.
    """

    stored: AnyArray
    slope: float
    intercept: float
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis."""
        return self.stored.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.stored.ndim

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self.stored.size

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401 - what NumPy takes and gives
        part = self.stored[key]
        return replace(self, stored=part) if part.ndim == 3 else self._values(part)

    def transpose(self, axes: tuple[int, ...]) -> "Rescaled":
        """View with the axes in another order."""
        return replace(self, stored=self.stored.transpose(axes))

    def min(self) -> float:
        """The lowest value."""
        return float(self._values(self.stored.min()))

    def max(self) -> float:
        """The highest value."""
        return float(self._values(self.stored.max()))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        if copy is False:
            raise ValueError("values of a scaling cannot be had without a copy; take them plane by plane")
        values = np.empty_like(self.stored, self.dtype)
        axis = int(np.argmax(np.abs(self.stored.strides)))  # planes that lie together in memory
        for target, plane in zip(*(np.moveaxis(a, axis, 0) for a in (values, self.stored)), strict=True):
            target[...] = self._values(plane)
        return values if dtype is None else values.astype(dtype, copy=False)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, out: tuple[object, ...] = (), **named: object
    ) -> object:
        if any(isinstance(target, Rescaled) for target in out):
            return NotImplemented  # nothing is written to
        arrays = (np.asarray(given) if isinstance(given, Rescaled) else given for given in inputs)
        return getattr(ufunc, method)(*arrays, **named, **({"out": out} if out else {}))

    def _values(self, stored: AnyArray) -> AnyArray:
        """Values of some stored numbers, laid out as they are."""
        if self.dtype.kind == "i":
            # Exact though both steps may leave the type: they count modulo 2**bits, and the values fit.
            bits = 8 * self.dtype.itemsize
            inter = (int(self.intercept) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
            whole = np.asarray(stored).astype(self.dtype)
            np.add(whole, self.dtype.type(inter), out=whole)
            return whole
        with np.errstate(over="ignore", invalid="ignore"):  # CtVolume refuses and counts what is not finite
            values = np.asarray(stored).astype(np.float64)
            values *= self.slope
            values += self.intercept
            return values.astype(self.dtype)


Voxels: TypeAlias = AnyArray | Rescaled
"""Values of a scan: an array, or what is read as one."""


def rescaled(stored: AnyArray, slope: float = 1.0, intercept: float = 0.0, *, source: str) -> Voxels:
    """Values of stored numbers, as those of the same scan in a file, without a copy of the volume.

    Parameters
    ----------
    stored : (i, j, k)
        Numbers of any type, byte order and strides; never written to.
    slope, intercept
        HU = slope * stored + intercept, as DICOM and NIfTI have them.
    source
        Name of the scan for messages.

    Raises
    ------
    InputError
        If the slope is not above 0, a number is not finite, or the values are too large to be HU.

    Examples
    --------
    >>> values = rescaled(np.full((2, 3, 4), 1074, np.uint16), 1, -1024, source="scan")
    >>> values.shape, values.dtype, values[0, 0]
    ((2, 3, 4), dtype('int16'), array([50, 50, 50, 50], dtype=int16))
    """
    slope, intercept = slope_and_intercept((slope, intercept), source)
    kind = value_type(stored, slope, intercept, source)
    if kind is None:
        return stored
    if (slope, intercept) != (1, 0):
        _refuse_large(stored, slope, intercept, source)
    return Rescaled(stored, slope, intercept, kind)


def slope_and_intercept(given: tuple[float, float] | None, source: str) -> tuple[float, float]:
    """Both numbers of a host, 1 and 0 where it gives none.

    Raises
    ------
    InputError
        If it is no pair of finite numbers with a slope above 0.

    Examples
    --------
    >>> slope_and_intercept((1, -1024), "scan")
    (1.0, -1024.0)
    """
    if given is None:
        return 1.0, 0.0
    try:
        slope, intercept = map(float, given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"rescale of {source} is {given!r}, expected two numbers, (slope, intercept), such as (1, -1024)",
            code=3124,
        ) from error
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
        raise InputError(
            f"the rescale slope of {source} is {slope:g} and the intercept {intercept:g}, expected finite "
            "numbers and a slope above 0 (below it HU are inverted): give RescaleSlope and "
            "RescaleIntercept of the DICOM headers, or 1 and 0 if the numbers are HU",
            code=3124,
        )
    return slope, intercept


def value_type(stored: AnyArray, slope: float, intercept: float, source: str) -> np.dtype[Any] | None:
    """Type of the values: 16- or 32-bit integers while they are whole, else float32; None as they are stored.

    Raises
    ------
    InputError
        If whole values are beyond 32 bits.
    """
    is_plain = (slope, intercept) == (1, 0)
    if stored.dtype.kind not in "iu" or slope != 1 or intercept != int(intercept):
        return None if is_plain and stored.dtype == np.float32 else np.dtype(np.float32)
    if is_plain and stored.dtype in _READ_AS_THEY_ARE:
        return None
    inter = int(intercept)
    lowest, highest = int(stored.min()) + inter, int(stored.max()) + inter
    for kept in (np.int16, np.int32):
        if np.iinfo(kept).min <= lowest and highest <= np.iinfo(kept).max and abs(inter) <= 2**31:
            return np.dtype(kept)
    raise InputError(
        f"{source} has values {lowest}..{highest}; HU are small numbers, give the CT itself", code=3022
    )


def _refuse_large(stored: AnyArray, slope: float, intercept: float, source: str) -> None:
    lowest, highest = (slope * float(end) + intercept for end in (stored.min(), stored.max()))
    if lowest < -_EXACT_FLOAT32 or highest > _EXACT_FLOAT32:
        raise InputError(
            f"{source} has values {lowest:g}..{highest:g} after its slope {slope:g} and intercept "
            f"{intercept:g}, expected HU, a few thousand at most: check both numbers, and the type of "
            "the buffer",
            code=3125,
        )
