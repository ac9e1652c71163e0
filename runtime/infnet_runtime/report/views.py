"""Planes of a result, as its pictures show them: grey in the lung window, and where something is marked.

Upright and in radiological display: axial planes have the patient's right at the left edge and the front at
the top, coronal ones the right at the left and the head at the top, sagittal ones the front at the left and
the head at the top. A millimetre is as long one way as the other. What is marked never disappears by being
made smaller, so a mark can be half a pixel too wide.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray, FloatArray
from infnet_runtime.io.images import CLASS_COLOURS
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.segment.given_mask import Measured
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.slices.preprocess import window_in_place

LEVEL_HU, WIDTH_HU = -600.0, 1500.0  # the lung window of radiology
LUNGS, INFECTION, TRUTH = (60, 170, 255), CLASS_COLOURS[CONSOLIDATION.value], (60, 220, 60)
_WINDOW_HU = (LEVEL_HU - WIDTH_HU / 2, LEVEL_HU + WIDTH_HU / 2)
_AIR_HU = -500.0  # darker than the body, brighter than what surrounds it
_AIR_GREY = 100  # the same in 8-bit grey
_COARSE = 4  # every so many pixels are enough to find the body
_MARGIN = 0.03  # of the side, around the body
_TALLEST = 1.5  # coronal and sagittal planes at most, in longer sides of an axial one
_UPRIGHT_DEGREES = 5.0  # below which planes of the scan are those of the body
# Slice, row or column: name of the plane, and what its edges show: left, right, top, bottom.
_PLANES = (("axial", "RLAP"), ("coronal", "RLHF"), ("sagittal", "APHF"))


@dataclass(frozen=True)
class Mark:
    """Where one thing is in a view.

    Parameters
    ----------
    colour
        Red, green and blue.
    filled
        Tinted inside, not outlined only.
    where : (rows, columns)
    """

    name: str
    colour: tuple[int, int, int]
    filled: bool
    where: BoolArray


@dataclass(frozen=True)
class View:
    """One plane.

    Parameters
    ----------
    plane
        ``axial``, ``coronal`` or ``sagittal``.
    number, of
        Which plane of how many: slices from the feet, rows from the front, columns from the patient's right.
    z_mm : mm
        World coordinate of an axial plane's centre, to the head; None of others, and without a voxel size.
    edges
        Letters of the left, right, top and bottom edge.
    grey : (rows, columns)
    """

    plane: str
    number: int
    of: int
    z_mm: float | None
    edges: str
    grey: ByteArray
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class _Layer:
    """Something to be marked, in LPS; a value of its own or everything but 0."""

    name: str
    colour: tuple[int, int, int]
    filled: bool
    labels: AnyArray
    value: int | None = None

    def marked(self, axis: int, index: int) -> BoolArray:
        plane = _plane(self.labels, axis, index)
        return plane > 0 if self.value is None else plane == self.value


def views(
    result: Segmentation | Measured,
    *,
    most: tuple[int, int, int],
    pixels: int,
    one_pixels: int,
    truth: BoolArray | None = None,
) -> list[View]:
    """Planes with lung, evenly spread, and of each direction always the one with the most infection.

    Axial planes from the head down, coronal from the front, sagittal from the patient's right. Of a scan
    without voxel size, or of one slice, there are axial planes only: no other would have its true shape.

    Parameters
    ----------
    most
        Axial, coronal and sagittal planes at most.
    pixels, one_pixels
        Longer side of an axial plane, of several and of a single one.
    truth : (i, j, k)
        Marked too where given.
    """
    volume = result.volume
    voxels, spacing_mm, z_mm = volume.to_lps(), volume.lps_spacing_mm, volume.grid.slice_z_mm
    layers = _layers(result, truth)
    lungs, infection = (_counts(volume.to_lps(labels)) for labels in (result.lungs, result.mask))
    slices = _picked(lungs[0], infection[0], most[0], slice(0, len(voxels)))
    rows, columns = _body(voxels, slices, volume.intensity)
    picked: list[list[int]] = [slices[::-1], [], []]
    if volume.grid.has_size and len(voxels) > 1:
        picked[1:] = [_picked(lungs[k], infection[k], most[k], (rows, columns)[k - 1]) for k in (1, 2)]
    boxes = ((rows, columns), (slice(None), columns), (slice(None), rows))
    sides_mm = (
        len(voxels) * spacing_mm[0],
        (rows.stop - rows.start) * spacing_mm[1],
        (columns.stop - columns.start) * spacing_mm[2],
    )
    scale = (pixels if len(picked[0]) > 1 else one_pixels) / max(sides_mm[1:])
    upright = min(scale, _TALLEST * pixels / sides_mm[0])
    found = []
    for axis, (name, edges) in enumerate(_PLANES):
        height_mm, width_mm = (mm for k, mm in enumerate(sides_mm) if k != axis)
        size = _pixels(height_mm, upright if axis else scale), _pixels(width_mm, upright if axis else scale)
        for index in picked[axis]:
            values = _plane(voxels, axis, index)[boxes[axis]].astype(np.float32)
            grey = _resized(window_in_place(values, volume.intensity, _WINDOW_HU), size)
            marks = [(layer, _resized_mark(layer.marked(axis, index)[boxes[axis]], size)) for layer in layers]
            turned = slice(None, None, -1 if axis else 1)  # from the head down
            found.append(
                View(
                    name,
                    number=index + 1,
                    of=voxels.shape[axis],
                    z_mm=float(z_mm[index]) if axis == 0 and z_mm is not None else None,
                    edges=edges,
                    grey=np.rint(grey[turned] * 255).astype(np.uint8),
                    marks=tuple(
                        Mark(layer.name, layer.colour, layer.filled, where[turned]) for layer, where in marks
                    ),
                )
            )
    return found


def legend(
    result: Segmentation | Measured, truth: BoolArray | None = None
) -> list[tuple[str, tuple[int, int, int]]]:
    """Names and colours of what is marked."""
    return [(layer.name, layer.colour) for layer in _layers(result, truth)]


def window_words(volume: CtVolume) -> str:
    """The window that grey values are shown in."""
    if volume.intensity is Intensity.WINDOWED:
        return "grey values of the picture as they are"
    return f"lung window, level {LEVEL_HU:.0f} HU, width {WIDTH_HU:.0f} HU"


def tilt_words(volume: CtVolume) -> str:
    """That the planes are not those of the body, where they are not; else empty."""
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1)).max()))
    if degrees < _UPRIGHT_DEGREES:
        return ""
    return f"planes of the scan, turned by {degrees:.0f} degrees against those of the body"


def _layers(result: Segmentation | Measured, truth: BoolArray | None) -> list[_Layer]:
    lps = result.volume.to_lps
    found = [_Layer("lungs", LUNGS, False, lps(result.lungs))]
    if truth is not None:
        found.append(_Layer("truth", TRUTH, False, lps(truth)))
    if isinstance(result, Measured) or result.classes is None:
        return [*found, _Layer("infection", INFECTION, True, lps(result.mask))]
    return found + [
        _Layer(kind.name, CLASS_COLOURS[kind.value], True, lps(result.classes), kind.value)
        for kind in (GROUND_GLASS, CONSOLIDATION)
    ]


def _counts(labels: AnyArray) -> tuple[npt.NDArray[np.int64], ...]:
    """Marked voxels of each slice, row and column; empty slices cost little."""
    slices, rows, columns = (np.zeros(n, np.int64) for n in labels.shape)
    for index, plane in enumerate(labels):
        if not plane.max():
            continue
        marked = plane > 0
        by_row = np.count_nonzero(marked, axis=1)
        slices[index] = by_row.sum()
        rows += by_row
        columns += np.count_nonzero(marked, axis=0)
    return slices, rows, columns


def _picked(
    lungs: npt.NDArray[np.int64], infection: npt.NDArray[np.int64], most: int, without_lung: slice
) -> list[int]:
    """Planes to show, in their order; those of ``without_lung`` where no lung was found."""
    shown = np.flatnonzero(lungs)
    if not len(shown):
        shown = np.arange(len(lungs))[without_lung]
    count = min(most, len(shown))
    picked = shown[((np.arange(count) + 0.5) / count * len(shown)).astype(int)]
    if infection.any():
        largest = int(infection.argmax())
        picked[np.abs(picked - largest).argmin()] = largest
    return [int(index) for index in picked]


def _plane(volume: Voxels, axis: int, index: int) -> AnyArray:
    key: list[int | slice] = [slice(None)] * 3
    key[axis] = index
    return np.asarray(volume[tuple(key)])


def _body(voxels: Voxels, slices: list[int], intensity: Intensity) -> tuple[slice, slice]:
    """Rows and columns of what is brighter than air in some slices, and a margin; all where nothing is."""
    limit = _AIR_HU if intensity is Intensity.HU else _AIR_GREY
    coarse = [np.asarray(voxels[index])[::_COARSE, ::_COARSE] > limit for index in slices]
    seen: BoolArray = np.logical_or.reduce(coarse)
    found = []
    for axis, length in enumerate(voxels.shape[1:]):
        where = np.flatnonzero(seen.any(axis=1 - axis)) * _COARSE
        if not len(where):
            return slice(0, voxels.shape[1]), slice(0, voxels.shape[2])
        margin = _COARSE + round(_MARGIN * length)
        found.append(slice(max(0, int(where[0]) - margin), min(length, int(where[-1]) + margin + 1)))
    return found[0], found[1]


def _pixels(mm: float, scale: float) -> int:
    return max(1, round(mm * scale))


def _resized(plane: FloatArray, size: tuple[int, int]) -> FloatArray:
    return _along_both(plane, size, cv2.INTER_LINEAR)


def _resized_mark(marked: BoolArray, size: tuple[int, int]) -> BoolArray:
    return np.asarray(_along_both(marked.astype(np.float32), size, cv2.INTER_NEAREST) > 0)


def _along_both(plane: FloatArray, size: tuple[int, int], enlarge: int) -> FloatArray:
    """Average along the axes that get shorter, then enlarge along those that get longer."""
    rows, columns = size
    fewer = min(rows, plane.shape[0]), min(columns, plane.shape[1])
    averaged = cv2.resize(plane, fewer[::-1], interpolation=cv2.INTER_AREA) if fewer != plane.shape else plane
    larger = cv2.resize(averaged, (columns, rows), interpolation=enlarge) if fewer != size else averaged
    return np.asarray(larger, np.float32)
