"""A scan reduced to a few millimetres: enough to see a spine, quick on every scan."""

from dataclasses import dataclass, replace

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray, FloatArray
from infnet_runtime.lungs.reduced import AT_ONCE, average
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.scan.planes import contiguous
from infnet_runtime.scan.sides import LEFT, RIGHT

_PIXEL_MM = 4.0
_SLICE_MM = 5.0
_LARGEST_SIDE = 160  # pixels; a wrong spacing must not make the rules slow
_LOWEST_HU, _HIGHEST_HU = -1024, 1500
# Spongy bone at 4 mm. In windowed grey the level is set above soft tissue, where the window lets it be.
_BONE_HU, _TISSUE_HU = 150.0, -300.0
_BONE_ABOVE_TISSUE, _HIGHEST_GREY = 15.0, 250.0
# A side with less of the lung than this is no second lung: one is missing, white, or out of the picture.
_LEAST_SIDE_SHARE = 0.15
# Lung touches the end of a scan if its section there has this share of the largest; apices and recesses
# taper to nothing.
_CUT_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class CoarseChest:
    """A scan with lungs, coarse, in LPS.

    Parameters
    ----------
    lungs : (slice, row, column)
        1 right, 2 left.
    bone, tissue : (slice, row, column)
    mm : mm
        Distance of slices, rows and columns of this grid; nominal where the scan has no size.
    lung_ml : mL
        Of the whole lung mask; nominal likewise.
    is_cut : (at the foot, at the head)
        Whether lung reaches the first and the last slice of the scan.
    picked
        The slices of the scan that are looked at.
    """

    lungs: ByteArray
    bone: BoolArray
    tissue: BoolArray
    mm: tuple[float, float, float]
    lung_ml: float
    is_cut: tuple[bool, bool]
    picked: range

    def with_lungs(self, lungs: LungMask) -> "CoarseChest | None":
        """The same scan with other lungs; nothing where there are none."""
        labels = lungs.to_lps()
        area = np.array([np.count_nonzero(plane) for plane in labels])
        if not area.any():
            return None
        return replace(
            self,
            lungs=_reduced(labels, self.picked, self.lungs.shape[1:]),
            lung_ml=float(area.sum()) * lungs.grid.voxel_mm3 / 1000,
            is_cut=_is_cut(area),
        )

    @property
    def slices_with_lung(self) -> slice:
        """From the first to the last."""
        used = np.flatnonzero((self.lungs > 0).any(axis=(1, 2)))
        return slice(int(used[0]), int(used[-1]) + 1)

    @property
    def box_mm(self) -> tuple[float, float, float]:
        """Height, depth and width of both lungs together, in mm."""
        lung = self.lungs > 0
        used = [np.flatnonzero(lung.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        height, depth, width = (float((n[-1] - n[0] + 1) * mm) for n, mm in zip(used, self.mm, strict=True))
        return height, depth, width

    @property
    def has_both_lungs(self) -> bool:
        """Whether each side has a lung's share of the mask."""
        right, left = (np.count_nonzero(self.lungs == side) for side in (RIGHT, LEFT))
        return bool(min(right, left) >= _LEAST_SIDE_SHARE * (right + left))


def coarse_chest(scan: CtVolume, lungs: LungMask) -> CoarseChest | None:
    """Reduce a scan; nothing where it has no lung."""
    voxels, labels = scan.to_lps(), lungs.to_lps()
    area = np.array([np.count_nonzero(plane) for plane in labels])
    with_lung = np.flatnonzero(area)
    if len(with_lung) == 0:
        return None
    spacing_mm = scan.lps_spacing_mm
    step = max(1, round(_SLICE_MM / spacing_mm[0]), -(-len(area) // _LARGEST_SIDE))
    picked = range(int(with_lung[len(with_lung) // 2]) % step, len(area), step)
    rows, columns = (
        max(1, min(n, _LARGEST_SIDE, round(n * mm / _PIXEL_MM)))
        for n, mm in zip(labels.shape[1:], spacing_mm[1:], strict=True)
    )
    values = np.empty((len(picked), rows, columns), np.float32)
    for first in range(0, len(picked), AT_ONCE):
        planes = [_clipped(voxels[k]) for k in picked[first : first + AT_ONCE]]
        average(planes, values[first : first + AT_ONCE])
    bone, tissue = _levels(values, scan.intensity)
    return CoarseChest(
        _reduced(labels, picked, (rows, columns)),
        values > bone,
        values > tissue,
        (
            spacing_mm[0] * step,
            spacing_mm[1] * labels.shape[1] / rows,
            spacing_mm[2] * labels.shape[2] / columns,
        ),
        float(area.sum()) * scan.voxel_volume_ml,
        _is_cut(area),
        picked,
    )


def _reduced(labels: ByteArray, picked: range, shape: tuple[int, ...]) -> ByteArray:
    size = shape[::-1]
    return np.stack(
        [cv2.resize(np.ascontiguousarray(labels[k]), size, interpolation=cv2.INTER_NEAREST) for k in picked]
    )


def _is_cut(area: AnyArray) -> tuple[bool, bool]:
    return bool(area[0] > _CUT_SHARE * area.max()), bool(area[-1] > _CUT_SHARE * area.max())


def _clipped(plane: AnyArray) -> AnyArray:
    """One slice without its extremes, metal and padding. Short whole numbers stay what they are."""
    plane = contiguous(plane)
    if plane.dtype == np.uint8:
        return plane
    clipped = np.clip(plane, _LOWEST_HU, _HIGHEST_HU)
    return clipped if plane.dtype == np.int16 else clipped.astype(np.float32)


def _levels(values: FloatArray, intensity: Intensity) -> tuple[float, float]:
    """Above which values there is bone, and soft tissue."""
    if intensity is Intensity.HU:
        return _BONE_HU, _TISSUE_HU
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(grey.reshape(len(grey), -1), 0, 255, cv2.THRESH_OTSU)
    above = grey[grey > level]
    tissue = float(np.median(above)) if above.size else _HIGHEST_GREY
    return min(tissue + _BONE_ABOVE_TISSUE, _HIGHEST_GREY), float(level)
