"""Where the lungs are, by a small network: the way from a scan to its input and back.

The network sees whole slices, letterboxed to a small square, each with the planes below and above it, and
gives the probabilities of the right and of the left lung. It knows chests and not thresholds, so that a lung
that is dense as a whole is found. Nothing here imports a backend: the caller gives what runs the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cc3d
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.cancel import go_on
from infnet_runtime.errors import InputError
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.scan.sides import LEFT, RIGHT
from infnet_runtime.slices.preprocess import window_in_place

RunLungs: TypeAlias = Callable[[FloatArray], FloatArray]
"""(n, 3, size, size) grey 0..1 -> (n, 2, size, size) probabilities of the right and the left lung."""

_BYTE = np.float32(255)
# Planes nearer than this are not run, but interpolated: lungs change little in it.
_STEP_MM = 3.0
# Less than this in one piece is no lung: a loop of bowel, a sinus. In scans of one slice, an area.
_LEAST_ML = 10.0
_LEAST_CM2 = 1.5
# Share of the largest piece below which a piece is debris.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Letterbox:
    """Where a slice lies in the square of the network."""

    rows: slice
    columns: slice


def letterbox(rows: int, columns: int, row_mm: float, column_mm: float, size: int) -> Letterbox:
    """Fit a slice into a square, in its proportions in mm, centred.

    Examples
    --------
    >>> letterbox(512, 512, 0.7, 0.7, 160)
    Letterbox(rows=slice(0, 160, None), columns=slice(0, 160, None))
    >>> letterbox(100, 200, 1.0, 1.0, 160)
    Letterbox(rows=slice(40, 120, None), columns=slice(0, 160, None))
    """
    longest = max(rows * row_mm, columns * column_mm)
    high, wide = (max(1, round(size * extent / longest)) for extent in (rows * row_mm, columns * column_mm))
    top, left = (size - high) // 2, (size - wide) // 2
    return Letterbox(slice(top, top + high), slice(left, left + wide))


def lung_planes(
    voxels: Voxels,
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    spec: LungSpec,
    picked: npt.NDArray[np.intp],
) -> Iterator[FloatArray]:
    """Network input of some slices, one by one.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
    spacing_mm : mm
        Distance of slices, rows and columns.
    picked
        Indices of the slices, rising.

    Yields
    ------
    (3, size, size)
        Grey 0..1: the plane towards the feet, the slice, the plane towards the head.
    """
    count, rows, columns = voxels.shape
    box = letterbox(rows, columns, spacing_mm[1], spacing_mm[2], spec.size)
    apart = max(1, round(spec.neighbour_mm / spacing_mm[0]))
    ready: dict[int, FloatArray] = {}
    for k in picked.tolist():
        wanted = (max(0, k - apart), k, min(count - 1, k + apart))
        for plane in wanted:
            if plane not in ready:
                ready[plane] = _small_grey(voxels[plane], intensity, spec, box)
        yield np.stack([ready[plane] for plane in wanted])
        for plane in [p for p in ready if p < k - apart]:
            del ready[plane]


def _small_grey(
    plane: npt.NDArray[np.generic], intensity: Intensity, spec: LungSpec, box: Letterbox
) -> FloatArray:
    """The square of one slice. Averaged first and windowed then, as the training data are."""
    square = np.zeros((spec.size, spec.size), np.float32)
    inner = square[box.rows, box.columns]
    size = inner.shape[::-1]
    shrinks = size[0] <= plane.shape[1] and size[1] <= plane.shape[0]
    values = np.ascontiguousarray(plane).astype(np.float32, copy=False)  # whole numbers would be rounded
    inner[:] = cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    window_in_place(inner, intensity, spec.window_hu)
    return square


def find_lungs_by_network(
    voxels: Voxels,
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    run: RunLungs,
    *,
    spec: LungSpec | None = None,
    batch_size: int = 8,
) -> ByteArray:
    """Label the right and the left lung.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
        Slices foot to head, rows front to back, columns from the patient's right to left.
    spacing_mm : mm
        Distance of slices, rows and columns; nominal for pictures.
    intensity
        Whether ``voxels`` are HU or windowed grey.
    run
        The network.
    batch_size
        Slices in one run.

    Returns
    -------
    (slice, row, column)
        0 background, 1 the patient's right lung, 2 the left. All 0 where no lung is found.

    Raises
    ------
    InputError
        If ``voxels`` does not have three axes.
    """
    if voxels.ndim != 3:
        raise InputError(
            f"expected voxels with 3 axes (slice, row, column), found shape {voxels.shape}; "
            "give one picture as one slice",
            code=3060,
        )
    labels = np.zeros(voxels.shape, np.uint8)
    found = network_labels(voxels, spacing_mm, intensity, run, spec=spec, batch_size=batch_size)
    for k, plane in enumerate(found):
        labels[k] = plane
    return labels


def network_labels(
    voxels: Voxels,
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    run: RunLungs,
    *,
    spec: LungSpec | None = None,
    batch_size: int = 8,
) -> Iterator[ByteArray]:
    """:func:`find_lungs_by_network` slice by slice, so that no volume is needed for the labels.

    Yields
    ------
    (row, column)
        Its memory serves for the next slice again.
    """
    if voxels.size == 0:
        return
    spec = spec or LungSpec()
    count, rows, columns = voxels.shape
    step = max(1, int(_STEP_MM / spacing_mm[0]))
    picked = np.arange(min(step // 2, count - 1), count, step)
    box = letterbox(rows, columns, spacing_mm[1], spacing_mm[2], spec.size)
    inside = np.s_[:, :, box.rows, box.columns]
    # In bytes: a scan of many slices would take 40 MiB else.
    found = np.empty((len(picked), 2, spec.size, spec.size), np.uint8)[inside]
    lung = np.empty((len(picked), *found.shape[2:]), np.bool_)
    planes = lung_planes(voxels, spacing_mm, intensity, spec, picked)
    for start in range(0, len(picked), batch_size):
        go_on()
        batch = np.stack([next(planes) for _ in range(min(batch_size, len(picked) - start))])
        sides = run(batch)[inside]
        found[start : start + len(batch)] = sides * _BYTE + np.float32(0.5)
        lung[start : start + len(batch)] = sides.sum(axis=1) >= 0.5
    pixel_cm2 = (rows * spacing_mm[1] / found.shape[2]) * (columns * spacing_mm[2] / found.shape[3]) / 100
    least = _LEAST_CM2 / pixel_cm2 if count == 1 else 10 * _LEAST_ML / (pixel_cm2 * spacing_mm[0] * step)
    kept = lung_pieces(lung, least)
    for sides, seen, pieces in zip(found, lung, kept, strict=True):
        # Beyond the pieces that count, the probability of lung ends at one half.
        sides[:, seen & ~_grown(pieces)] = 0
    label = np.zeros((rows, columns), np.uint8)
    for k in range(count):
        go_on()
        label[...] = 0
        _enlarge(found, min(max((k - picked[0]) / step, 0.0), len(picked) - 1.0), label)
        yield label


def lung_pieces(lung: BoolArray, least: float) -> BoolArray:
    """Pieces large enough to be lung.

    Parameters
    ----------
    lung : (slice, row, column)
    least : voxels
        Of the smallest piece.
    """
    parts = cc3d.connected_components(lung, connectivity=26)
    volume = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
    for plane in parts:
        volume += np.bincount(plane.ravel(), minlength=len(volume))
    volume[0] = 0
    large = volume >= max(least, _LEAST_SHARE * float(volume.max()))
    large[0] = False
    return np.asarray(large[parts])


def _grown(plane: BoolArray) -> BoolArray:
    """With a rim of one pixel, for the interpolation between pixels."""
    return np.asarray(cv2.dilate(plane.view(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _enlarge(found: ByteArray, place: float, label: ByteArray) -> None:
    """Label one slice of the scan: linear between the planes and the pixels of the network."""
    low = int(place)
    high, weight = min(low + 1, len(found) - 1), np.float32(place - low)
    sides = found[low].astype(np.float32)
    if weight:
        sides = sides * (1 - weight) + found[high].astype(np.float32) * weight
    sides /= _BYTE
    seen = sides.sum(axis=0) > 0.1
    if not seen.any():
        return
    box = _reach(seen, label.shape)
    right, left = (
        cv2.resize(np.ascontiguousarray(side), label.shape[::-1], interpolation=cv2.INTER_LINEAR)[box]
        for side in sides
    )
    lung = right + left >= 0.5
    inner = label[box]
    inner[lung] = RIGHT
    inner[lung & (left > right)] = LEFT


def _reach(seen: BoolArray, large: tuple[int, ...]) -> tuple[slice, slice]:
    """Box of the scan's slice that a box of the network's pixels can reach."""

    def reach(axis: int) -> slice:
        hit = np.flatnonzero(seen.any(axis=1 - axis))
        scale = large[axis] / seen.shape[axis]
        return slice(max(0, int((hit[0] - 1) * scale)), min(large[axis], int(np.ceil((hit[-1] + 2) * scale))))

    return reach(0), reach(1)
