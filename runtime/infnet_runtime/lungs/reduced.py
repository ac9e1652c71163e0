"""The reduced grid on which the lungs are looked for, and the way there and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray, FloatArray, zeros_in
from infnet_runtime.cancel import go_on
from infnet_runtime.lungs.components import box_of
from infnet_runtime.lungs.padding import padding_mask, padding_values
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.planes import contiguous
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.scan.sides import LEFT, RIGHT

# Vessels of 2 mm vanish at this size, the chest wall does not.
_PIXEL_MM = 2.0
# No scanner looks further; pictures have a nominal spacing and are brought to this size at most.
_LARGEST_FIELD_MM = 500.0
# Lung against soft tissue. Ground glass lies between -700 and -300 HU, fat above -130.
_AIR_HU = -300.0
# Open air is -1000 HU, the median of a lung stays above this.
OPEN_AIR_HU = -930.0
_OPEN_HU = -500.0
# Below the range of a scanner: padding around the round field of view.
_PADDING_HU = -1100
_NOT_SCANNED = {Intensity.HU: -2048, Intensity.WINDOWED: 0}
_LOWEST_HU, _HIGHEST_HU = -1024, 600
# Slices that are reduced together.
AT_ONCE = 2
# Where lung meets soft tissue in windowed grey: half of a lung window, further off only in unusual scales.
_WINDOWED_AIR = (40.0, 170.0)
_LEAST_CONTRAST = 20.0
# How far from Otsu's level, half-way between lung and tissue, towards tissue. Measured on three volumes with
# masks: 0.15 loses up to 0.30 of the infection, 0.35 up to 0.15; 0.45 takes in fat in enhanced pictures.
_TOWARDS_TISSUE = 0.35

Box: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True)
class ReducedScan:
    """The scan on the reduced grid.

    Values below ``air`` are air or lung, ground glass included. The open air around the body is below
    ``open_air``, so that a thin chest wall still holds.
    """

    values: FloatArray  # (slice, row, column)
    padding: BoolArray
    pixel_mm: tuple[float, float]
    slice_mm: float
    step: int  # slices of the scan to one of this grid
    air: float
    open_air: float
    intensity: Intensity
    inside: BoolArray | None = None
    """What :func:`~infnet_runtime.lungs.open_air.air_inside` gives, where it was looked for before."""

    @property
    def pixel_cm2(self) -> float:
        """Area of a pixel in cm²."""
        return self.pixel_mm[0] * self.pixel_mm[1] / 100.0

    def pixels(self, mm: float) -> int:
        """Length in pixels, at least 1."""
        return max(1, round(mm / float(np.sqrt(self.pixel_mm[0] * self.pixel_mm[1]))))


Reduced: TypeAlias = Callable[[], ReducedScan | None]
"""Gives what :func:`reduce_scan` makes of a scan, where most of it was done before."""


class Reduction:
    """A scan on its way to the reduced grid: some slices at a time, in any order, from any thread.

    Parameters
    ----------
    shape : (slices, rows, columns)
    spacing_mm : mm
        Distance of slices, rows and columns.
    largest_field_mm : mm
        A picture that is said to be larger is taken to be this large.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing_mm: tuple[float, float, float],
        intensity: Intensity,
        *,
        largest_field_mm: float = _LARGEST_FIELD_MM,
    ) -> None:
        slices, rows, columns = shape
        nominal = min(1.0, largest_field_mm / max(rows * spacing_mm[1], columns * spacing_mm[2]))
        small = [
            max(1, min(n, round(n * mm * nominal / _PIXEL_MM)))
            for n, mm in ((rows, spacing_mm[1]), (columns, spacing_mm[2]))
        ]
        self._pixel_mm = (
            rows * spacing_mm[1] * nominal / small[0],
            columns * spacing_mm[2] * nominal / small[1],
        )
        self._step = max(1, int(_PIXEL_MM / spacing_mm[0]))
        self._slice_mm = spacing_mm[0] * self._step
        self._intensity = intensity
        self._picked = range(min(self._step // 2, slices - 1), slices, self._step)
        self._values = np.empty((len(self._picked), small[0], small[1]), np.float32)
        self._padding = np.zeros(self._values.shape, np.bool_)
        self._last_pad: tuple[BoolArray, BoolArray] = (
            np.zeros((rows, columns), np.bool_),
            self._padding[0].copy(),
        )

    @property
    def groups(self) -> range:
        """Numbers of the groups of slices that are reduced together."""
        return range(-(-len(self._picked) // AT_ONCE))

    def slices_of(self, group: int) -> range:
        """The slices of the scan that a group is made of."""
        return self._picked[group * AT_ONCE : (group + 1) * AT_ONCE]

    def group_of(self, index: int) -> int | None:
        """The group that a slice of the scan belongs to, absent where the reduced grid does without it."""
        return self._picked.index(index) // AT_ONCE if index in self._picked else None

    def take(self, group: int, stored: Sequence[AnyArray], filled_with: tuple[float, ...]) -> None:
        """Average the slices of a group; once more replaces what was there.

        Parameters
        ----------
        stored : (row, column)
            All slices of the group, in order.
        filled_with
            Values of padding, as :func:`~infnet_runtime.lungs.padding.padding_values` finds them.
        """
        first = group * AT_ONCE
        planes = []
        for k, voxels in enumerate(stored, first):
            plane, pad = _plane(voxels, filled_with, self._intensity)
            planes.append(plane)
            self._padding[k] = False if pad is None else self._reduced_padding(pad)
        if len({plane.dtype for plane in planes}) > 1:
            planes = [plane.astype(np.float32) for plane in planes]
        average(planes, self._values[first : first + AT_ONCE])

    def _reduced_padding(self, pad: BoolArray) -> BoolArray:
        last, reduced = self._last_pad  # of one assignment: another thread may put its own there
        if not np.array_equal(pad, last):  # a round field of view is the same in every slice
            size = reduced.shape[::-1]
            shares = cv2.resize(pad.view(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
            reduced = np.asarray(shares) > 127
            self._last_pad = pad, reduced
        return reduced

    @property
    def shape(self) -> tuple[int, ...]:
        """Slices, rows and columns of the reduced grid."""
        return self._values.shape

    def finished(self) -> ReducedScan | None:
        """Of all groups; nothing if there is no contrast."""
        return self._scan(slice(None))

    def group(self, group: int) -> ReducedScan | None:
        """The slices of one group alone; in windowed grey their levels of air are not those of the scan."""
        return self._scan(slice(group * AT_ONCE, (group + 1) * AT_ONCE))

    def _scan(self, part: slice) -> ReducedScan | None:
        values, padding = self._values[part], self._padding[part]
        if self._intensity is Intensity.HU:
            # Padding of exactly -1024 has no noise.
            padding |= values <= _LOWEST_HU + 0.5
            air, open_air = _AIR_HU, _OPEN_HU
        elif (levels := _windowed_air(values)) is not None:
            air, open_air = levels
        else:
            return None
        return ReducedScan(
            values, padding, self._pixel_mm, self._slice_mm, self._step, air, open_air, self._intensity
        )


def reduce_scan(
    voxels: Voxels,
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    *,
    largest_field_mm: float = _LARGEST_FIELD_MM,
) -> ReducedScan | None:
    """Average a scan onto the reduced grid, slice by slice; nothing if there is no contrast.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
    spacing_mm, largest_field_mm
        As of :class:`Reduction`.
    """
    reduction = Reduction(voxels.shape, spacing_mm, intensity, largest_field_mm=largest_field_mm)
    filled_with = padding_values(voxels, intensity)
    for group in reduction.groups:
        go_on()
        reduction.take(group, [voxels[k] for k in reduction.slices_of(group)], filled_with)
    return reduction.finished()


def _plane(
    stored: AnyArray, filled_with: tuple[float, ...], intensity: Intensity
) -> tuple[AnyArray, BoolArray | None]:
    """One slice with its extremes clipped, and where it is padding by a value below the range of a scanner.

    Whole numbers of 16 bits stay what they are: they are clipped in a fraction of the time of floats.
    """
    not_scanned = padding_mask(stored, filled_with, intensity) if filled_with else None
    is_short = stored.dtype == (np.int16 if intensity is Intensity.HU else np.uint8)
    plane = contiguous(stored) if is_short else np.ascontiguousarray(stored, np.float32)
    if not_scanned is not None:
        plane = plane.copy()
        plane[not_scanned] = _NOT_SCANNED[intensity]
    if intensity is not Intensity.HU:
        return plane, None
    lowest, highest = _LOWEST_HU, _HIGHEST_HU
    if plane.min() >= _PADDING_HU:
        return np.clip(plane, lowest, highest), None
    return np.clip(plane, lowest, highest), plane < _PADDING_HU


def average(planes: list[AnyArray], reduced: FloatArray) -> None:
    """Average slices onto a coarser grid.

    OpenCV takes as long for two slices as for one if they are the channels of one picture: for a single
    channel each sum waits for the one before.

    Parameters
    ----------
    planes : (row, column)
        One slice or two, both of bytes, of 16-bit numbers or of float32.
    reduced : (slice, row, column)
        Filled with them.
    """
    size = reduced.shape[:0:-1]
    if len(planes) == 1:
        alone = planes[0].astype(np.float32, copy=False)
        cv2.resize(alone, size, dst=reduced[0], interpolation=cv2.INTER_AREA)
        return
    together = cv2.merge(planes).astype(np.float32, copy=False)  # (row, column, slice)
    averages = cv2.resize(together, size, interpolation=cv2.INTER_AREA)
    reduced[...] = averages.transpose(2, 0, 1)


def _windowed_air(values: FloatArray) -> tuple[float, float] | None:
    """Grey levels between lung and soft tissue, and between open air and the body.

    From Otsu's method over the whole volume: the window of a picture is unknown, no fixed level serves all.
    """
    grey = cv2.convertScaleAbs(values.reshape(len(values), -1))  # rounded, cut at 255
    if float(grey.max()) - float(grey.min()) < _LEAST_CONTRAST:
        return None
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    tissue = _median_above(np.asarray(grey), int(level))
    # Otsu lies half-way; ground glass reaches further up.
    air = float(np.clip(level + _TOWARDS_TISSUE * (tissue - level), *_WINDOWED_AIR))
    return air, min(float(level), air)


def _median_above(grey: ByteArray, level: int) -> float:
    """Median of the values above a level, of which there must be some: (slice, pixel)."""
    counts = np.zeros(256, np.int64)
    for plane in grey:
        counts += cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    counts[: level + 1] = 0
    running = np.cumsum(counts)
    middle = [(running[-1] - 1) // 2, running[-1] // 2]
    return float(np.searchsorted(running, middle, side="right").mean())


def enlarge(
    small: ByteArray, shape: tuple[int, ...], step: int, *, out: ByteArray | None = None
) -> ByteArray:
    """Bring labels back to the grid of the scan: linear between the reduced voxels, cut at one half.

    Parameters
    ----------
    small : (slice, row, column)
        Labels on the reduced grid.
    shape
        Shape of the scan.
    step
        Slices of the scan to one of the reduced grid.
    out : (slice, row, column)
        Where the labels are written; an array of their own where absent.
    """
    slices, rows, columns = shape
    labels: ByteArray = zeros_in(out, (slices, rows, columns))
    large = np.empty((rows, columns), np.float32)
    boxes = [_boxes(plane) for plane in small]
    first = min(step // 2, slices - 1)

    def enlarged(seen: list[BoolArray], weight: float, found: list[Box]) -> tuple[Box, ByteArray]:
        """Box on the large grid that lung can reach, and where it does: 1."""
        cv2.resize(_shares(seen, weight), (columns, rows), dst=large, interpolation=cv2.INTER_LINEAR)
        target = _reach(found, small.shape[1:], (rows, columns))
        return target, (large[target] > 0.5).view(np.uint8)

    for k in range(slices):
        go_on()
        place = min(max((k - first) / step, 0.0), len(small) - 1.0)
        low = int(place)
        weight = place - low
        used = [low, low + 1] if weight else [low]
        right, left = ([box for j in used for box in boxes[j][side]] for side in (RIGHT, LEFT))
        border = _border(right, left, columns / small.shape[2])
        if border is not None:
            target, hit = enlarged([small[j] > 0 for j in used], weight, right + left)
            cut = border - target[1].start
            np.multiply(hit[:, :cut], RIGHT, out=labels[k][target][:, :cut])
            np.multiply(hit[:, cut:], LEFT, out=labels[k][target][:, cut:])
            continue
        for side, found in ((RIGHT, right), (LEFT, left)):
            if found:
                target, hit = enlarged([small[j] == side for j in used], weight, found)
                hit *= side
                np.maximum(labels[k][target], hit, out=labels[k][target])
    return labels


def _boxes(plane: ByteArray) -> dict[int, list[Box]]:
    """Box around each side's lung in a slice, where it has one."""
    boxes = {side: box_of(plane == side) for side in (RIGHT, LEFT)}
    return {side: [box] if box[0].stop else [] for side, box in boxes.items()}


def _border(right: list[Box], left: list[Box], scale: float) -> int | None:
    """Column of the large grid between two lungs with a free reduced column between them.

    They are enlarged at once: no pixel is made of both.
    """
    if not right or not left:
        return None
    free = max(box[1].stop for box in right)
    if free >= min(box[1].start for box in left):
        return None
    return int(np.ceil((free + 0.5) * scale - 0.5))  # the first pixel beyond the middle of the free column


def _shares(seen: list[BoolArray], weight: float) -> FloatArray:
    """How much of each reduced voxel is lung, between two slices or in one."""
    if len(seen) == 1:
        return seen[0].astype(np.float32)
    # The values that it can be: in neither slice, in the lower, in the upper, in both.
    shares = np.array([0, 1 - weight, weight, (1 - weight) + weight], np.float32)
    return np.asarray(shares[seen[0].view(np.uint8) | (seen[1].view(np.uint8) << 1)])


def _reach(boxes: list[Box], small: tuple[int, ...], large: tuple[int, int]) -> Box:
    """Box on the large grid that boxes of the small grid can reach when they are enlarged."""

    def reach(axis: int) -> slice:
        scale = large[axis] / small[axis]
        start = min(box[axis].start for box in boxes) - 1
        stop = max(box[axis].stop for box in boxes) + 1
        return slice(max(0, int(start * scale)), min(large[axis], int(np.ceil(stop * scale))))

    return reach(0), reach(1)
