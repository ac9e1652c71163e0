"""Padding that is neither air nor below the range of a scanner: 0 HU outside the scanned circle, for example.

Programs that turn or resample a scan fill what lies outside of it with 0. As tissue it would make a wall
around the open air, which then is taken for lung. It is known by what no body is: exactly one value, from a
corner on, around a field without dents, or in whole slices at the ends.
"""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray
from infnet_runtime.lungs.closing import hull
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.rescaled import Voxels

# Below is air, or padding that counts as air.
_LEAST_HU, _LEAST_GREY = -930.0, 64.0
# The brightest grey is tissue beyond the window, not padding.
_HIGHEST_GREY = 250.0
_TISSUE_HU, _TISSUE_GREY = -300.0, 128.0
_OPEN_AIR_GREY = 20.0
# Of the scanned field: what its own hull may add beyond the steps of its rim. Lungs in a tight field of view,
# the only air in a body that fills it, have 0.1 and more.
_MOST_DENTED = 0.02
# The scanned field shows a body in some slices.
_LEAST_TISSUE = 0.05
# Share of the scanned field that has the value of the padding by chance. In a body without noise it is large.
_MOST_IN_BODY = 0.04
_CORNER = 3
_SAMPLES = 16
_SQUARE = np.ones((3, 3), np.uint8)


def padding_values(voxels: Voxels, intensity: Intensity) -> tuple[float, ...]:
    """Values that fill what was not scanned; none in most scans.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
    """
    search = PaddingSearch(len(voxels), intensity)
    for k in search.slices:
        search.look_at(k, voxels[k])
    return search.values(voxels[search.middle])


class PaddingSearch:
    """:func:`padding_values` one slice after the other, in any order.

    Parameters
    ----------
    slices
        How many the scan has.
    """

    def __init__(self, slices: int, intensity: Intensity) -> None:
        self._intensity = intensity
        self.middle = slices // 2
        """The slice that is asked whether a value is one of the body."""
        self.slices = [int(k) for k in np.unique(np.linspace(0, slices - 1, _SAMPLES).astype(int))]
        """The slices to look at."""
        self._ends = 0, slices - 1
        self._around: frozenset[float] = frozenset()
        self._all_of: frozenset[float] = frozenset()

    @property
    def around(self) -> tuple[float, ...]:
        """Values that were seen to fill what surrounds a scanned field, so far."""
        return tuple(sorted(self._around))

    def look_at(self, k: int, plane: npt.NDArray[np.generic]) -> None:
        """Look at one of the ``slices``.

        Parameters
        ----------
        plane : (row, column)
        """
        for value in _corner_values(plane, self._intensity) - self._around:
            outside = _from_corners(plane, (value,))
            if outside.all():
                if k in self._ends:
                    self._all_of |= {value}
            elif (
                _is_field(plane, ~outside, self._intensity, without_body=False)
                and np.mean(plane[~outside] == value) < _MOST_IN_BODY
            ):
                self._around |= {value}

    def values(self, middle: npt.NDArray[np.generic]) -> tuple[float, ...]:
        """What was found, all slices looked at.

        Parameters
        ----------
        middle : (row, column)
            The slice ``middle``.
        """
        ends = {value for value in self._all_of if np.mean(middle == value) < _MOST_IN_BODY}
        return tuple(sorted(self._around | ends))


def padding_in(
    plane: npt.NDArray[np.generic], values: tuple[float, ...], intensity: Intensity
) -> tuple[float, ...]:
    """Those of the values of padding that count in a slice: what its corners are of."""
    return tuple(sorted(_corner_values(plane, intensity) & set(values))) if values else ()


def padding_mask(
    plane: npt.NDArray[np.generic], values: tuple[float, ...], intensity: Intensity
) -> BoolArray | None:
    """Where a slice is padding with these values: (row, column); nothing where it has none.

    The blurred rim that interpolation makes belongs to it.
    """
    here = padding_in(plane, values, intensity)
    if not here:
        return None
    outside = _from_corners(plane, here)
    if outside.all():
        return outside
    if not _is_field(plane, ~outside, intensity, without_body=True):
        return None
    return np.asarray(cv2.dilate(outside.astype(np.uint8), _SQUARE) > 0)


def _corner_values(plane: AnyArray, intensity: Intensity) -> set[float]:
    """Values of corners that are of one value, and no air."""
    least, most = (_LEAST_HU, np.inf) if intensity is Intensity.HU else (_LEAST_GREY, _HIGHEST_GREY)
    values: set[float] = set()
    for rows in (slice(0, _CORNER), slice(-_CORNER, None)):
        for columns in (slice(0, _CORNER), slice(-_CORNER, None)):
            corner = plane[rows, columns]
            value = float(corner[0, 0])
            if least < value < most and (corner == corner[0, 0]).all():
                values.add(value)
    return values


def _from_corners(plane: AnyArray, values: tuple[float, ...]) -> BoolArray:
    """What has one of these values and hangs together with a corner."""
    same = np.isin(plane, values) if len(values) > 1 else plane == values[0]
    count, labels = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)
    kept = np.zeros(count, np.bool_)
    kept[[labels[0, 0], labels[0, -1], labels[-1, 0], labels[-1, -1]]] = True
    kept[0] = False
    return np.asarray(kept[labels])


def _is_field(plane: AnyArray, field: BoolArray, intensity: Intensity, *, without_body: bool) -> bool:
    """Whether something is what a scanner saw: without dents, a body in it, or open air where that may be."""
    area = int(np.count_nonzero(field))
    if area == 0:
        return False
    dents = hull(field) & (cv2.dilate(field.astype(np.uint8), _SQUARE) == 0)
    if np.count_nonzero(dents) > _MOST_DENTED * area:
        return False
    tissue, air = (_TISSUE_HU, _LEAST_HU) if intensity is Intensity.HU else (_TISSUE_GREY, _OPEN_AIR_GREY)
    seen = plane[field]
    if np.count_nonzero(seen > tissue) >= _LEAST_TISSUE * area:
        return True
    return without_body and float(np.median(seen)) < air
