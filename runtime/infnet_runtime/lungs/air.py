"""Which air in a scan is lung: not the air around the body, not the windpipe, not gas in the bowel."""

import cc3d
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.lungs.airways import airways
from infnet_runtime.lungs.closing import hull
from infnet_runtime.lungs.components import Counts, box_of, members
from infnet_runtime.lungs.open_air import air_inside
from infnet_runtime.lungs.reduced import OPEN_AIR_HU, ReducedScan
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity

# Gas in the bowel is -1000 and blurred at its rim; lung with emphysema keeps its lower quartile above this.
_GAS_HU = -960.0
_GAS_QUANTILE = 0.25
# Lung as small as this is a crescent at the base, blurred and bright; a loop of bowel is dark somewhere.
_CRESCENT_CM2 = 20.0
_GAS_QUANTILE_SMALL = 0.1
# Enhanced pictures can show open air brighter than lung. No loop of bowel is as large as this.
_TOO_LARGE_FOR_GAS_CM2 = 40.0
# A lung shows at least once with this area.
_LEAST_AREA_CM2 = 6.0
# Pieces of this area join where they lie between found lungs: lung that consolidation cut off.
_LEAST_PIECE_CM2 = 0.5
# Share of the largest lung below which a component is debris.
_LEAST_SHARE = 0.02
# A lung has a body around it, also in a tight field of view: there it has 0.4 of the picture.
_ALL_OF_PICTURE = 0.9
# Every so many values are sorted to find where the median is about.
_SAMPLED = 64
_SQUARE = np.ones((3, 3), np.uint8)
_CROSS = np.asarray(cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), np.uint8)


def lung_air(scan: ReducedScan) -> BoolArray:
    """Voxels of the reduced grid that are aerated lung, both sides together: (slice, row, column)."""
    if scan.inside is None:
        inside = np.empty(scan.values.shape, np.bool_)
        for plane, found in zip(inside, air_inside(scan), strict=True):
            plane[...] = found
    else:
        inside = scan.inside.copy()
    inside &= ~airways(scan, inside)
    lung = _lung_components(scan, inside)
    size = [int(np.count_nonzero(plane)) for plane in lung]
    seen = sum(p.size - int(np.count_nonzero(p)) for p, n in zip(scan.padding, size, strict=True) if n)
    if scan.intensity is Intensity.HU and sum(size) > _ALL_OF_PICTURE * seen:
        return np.zeros_like(lung)  # nothing around it: no body
    return lung


class _Parts:
    """Pieces of air that hang together through the slices, without bridges of a pixel.

    Parameters
    ----------
    labels : (slice, row, column)
        0 outside.
    volume : (label,), voxels
    area : (label,), pixels
        Of the largest section.
    """

    def __init__(self, scan: ReducedScan, inside: BoolArray, rows: slice, columns: slice) -> None:
        """Label what is air inside the body, (slice, row, column), in a box that holds all of it."""
        self._values = scan.values[:, rows, columns]
        self._intensity, self._pixel_cm2 = scan.intensity, scan.pixel_cm2
        air = inside[:, rows, columns].view(np.uint8)
        opened = [cv2.morphologyEx(plane, cv2.MORPH_OPEN, _CROSS) for plane in air]
        self.labels = cc3d.connected_components(np.stack(opened), connectivity=6, binary_image=True)
        number = int(self.labels.max()) + 1
        self.volume, self.area = np.zeros((2, number), np.int64)
        self._first, self._last = np.full((2, number), -1)
        for k, plane in enumerate(self.labels):
            counts = np.bincount(plane.ravel(), minlength=number)
            self.volume += counts
            np.maximum(self.area, counts, out=self.area)
            seen = counts > 0
            self._first[seen & (self._last < 0)] = k
            self._last[seen] = k
        self.area[0] = 0

    def slices(self, label: int) -> range:
        """Slices from the first to the last of a piece."""
        return range(self._first[label], self._last[label] + 1)

    def is_gas(self, label: int, level: float) -> bool:
        """Whether a piece is as dark as gas.

        Parameters
        ----------
        level
            Below which it is.
        """
        slices = slice(self._first[label], self._last[label] + 1)
        part = np.asarray(self.labels[slices] == label)
        rows, columns = box_of(np.logical_or.reduce(part, axis=0))
        part = part[:, rows, columns]
        core = np.stack([cv2.erode(plane.view(np.uint8), _CROSS) for plane in part]).view(np.bool_)
        values, chosen = self._values[slices, rows, columns], core if core.any() else part
        if self._intensity is Intensity.WINDOWED:
            return quantile_is_below(values, chosen, 0.5, level)
        if self.area[label] * self._pixel_cm2 < _CRESCENT_CM2:
            return quantile_is_below(values, chosen, _GAS_QUANTILE_SMALL, OPEN_AIR_HU)
        return quantile_is_below(values, chosen, _GAS_QUANTILE, level)


def quantile_is_below(values: FloatArray, chosen: BoolArray, share: float, level: float) -> bool:
    """Whether a quantile of some values lies below a level, which counting tells in nearly every case.

    Parameters
    ----------
    chosen
        Of the shape of ``values``; something is.
    share
        0.5 is the median.
    """
    least = np.float32(level)
    if least < level:
        least = np.nextafter(least, np.float32(np.inf))  # then a float below the one is below the other
    number = int(np.count_nonzero(chosen))
    below = sum(int(np.count_nonzero(c & (v < least))) for v, c in zip(values, chosen, strict=True))
    # The quantile lies between these two of the sorted values.
    lower = int(share * (number - 1))
    if below <= lower:
        return False
    if below > lower + 1:
        return True
    picked = values[chosen]
    return float(np.median(picked) if share == 0.5 else np.quantile(picked, share)) < level


def median(values: FloatArray) -> float:
    """``numpy.median`` of many values, (n,): only those near it, by a sample, are sorted."""
    number = len(values)
    sample = np.sort(values[::_SAMPLED])
    middle, beside = len(sample) // 2, len(sample) // 50
    low, high = sample[max(0, middle - beside)], sample[min(len(sample) - 1, middle + beside)]
    near = values[(values >= low) & (values <= high)]
    before = int(np.count_nonzero(values < low))
    ranks = [(number - 1) // 2 - before, number // 2 - before]
    if ranks[0] < 0 or ranks[1] >= len(near):
        return float(np.median(values))
    return float(np.mean(np.partition(near, ranks)[ranks]))


def _lung_components(scan: ReducedScan, inside: BoolArray) -> BoolArray:
    """The components of air that look like lung: large enough, and not as dark as gas."""
    lung = np.zeros(inside.shape, np.bool_)
    box = _box_with_rim(inside)
    parts = _Parts(scan, inside, *box)
    level = _gas_level(scan, inside)
    cm2 = parts.area * scan.pixel_cm2
    accepted = np.zeros(len(cm2), np.bool_)
    for label in np.flatnonzero(cm2 >= _LEAST_AREA_CM2):
        accepted[label] = not parts.is_gas(int(label), level)
    if scan.intensity is Intensity.WINDOWED and not accepted.any():
        accepted = cm2 >= _TOO_LARGE_FOR_GAS_CM2
    if accepted.any():
        accepted &= parts.volume >= _LEAST_SHARE * parts.volume[accepted].max()
        pieces = np.flatnonzero((cm2 >= _LEAST_PIECE_CM2) & ~accepted)
        between = _inside_hull(parts, accepted, pieces) / np.maximum(parts.volume, 1)
        for label in pieces[between[pieces] > 0.8]:
            accepted[label] = not parts.is_gas(int(label), level)
    for labels, result, air in zip(parts.labels, lung[:, *box], inside[:, *box], strict=True):
        # What the opening took away at the rim comes back.
        np.logical_and(cv2.dilate(members(labels, accepted), _SQUARE), air, out=result)
    return lung


def _box_with_rim(inside: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that hold anything in any slice, and one more around them where there is one."""
    rows, columns = (
        slice(max(0, part.start - 1), min(length, part.stop + 1))
        for part, length in zip(box_of(np.logical_or.reduce(inside, axis=0)), inside.shape[1:], strict=True)
    )
    return rows, columns


def _inside_hull(parts: _Parts, accepted: BoolArray, pieces: npt.NDArray[np.intp]) -> Counts:
    """Voxels of some pieces within the common hull of those accepted, slice by slice: (label,)."""
    inside = np.zeros(len(accepted), np.int64)
    held: dict[int, list[int]] = {}
    for label in pieces:
        for k in parts.slices(int(label)):
            held.setdefault(k, []).append(int(label))
    for k, labels in held.items():
        common = hull(members(parts.labels[k], accepted).view(np.bool_))
        for label in labels:
            inside[label] += np.count_nonzero(common & (parts.labels[k] == label))
    return inside


def _gas_level(scan: ReducedScan, inside: BoolArray) -> float:
    """Median below which a component is gas and not lung."""
    if scan.intensity is Intensity.HU:
        return _GAS_HU
    open_air = scan.values < scan.air
    open_air &= scan.values >= 0.5
    open_air &= ~inside
    values = scan.values[open_air]
    if len(values) < 50:
        return -1.0
    darkest = median(values)
    return darkest + 0.05 * (scan.air - darkest)
