"""On which side a lung lies that is alone in the picture, by the anatomy around it.

The middle of the picture says nothing: the field of view may hold one lung only. Two things do. Bone that
runs through the slices beside the lung is the spine, on the inner side; ribs and shoulder blade fill less, in
fewer slices. And open air is near on the outer side, behind the chest wall, while inwards lie heart and spine
and the other half of the chest. Where neither is in the picture, or they contradict each other, nobody can
tell.
"""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.lungs.reduced import OPEN_AIR_HU, ReducedScan
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

_SAMPLES = 24
# Lengths hold for lungs as deep as this from front to back, and scale with them.
_REFERENCE_MM = 180.0
# A vertebra at 2 mm: so much bone in a square.
_BONE_HU = 150.0
_WINDOW_MM, _BONE_CM2 = 40.0, 3.0
# It lies beside the lung: arms lie further off.
_BESIDE_MM = 25.0
# Share of the slices. Measured: 0.75 and more where the spine is in the picture, 0.5 and less on the outer
# side of lungs of full height. In 50 mm at the height of the shoulders the outer side has 0.9: there, and in
# windowed grey, where contrast and ribs are as white, bone decides nothing.
_RUNS_THROUGH, _OUTER_SIDE = 0.7, 0.5
_LEAST_LEAD = 0.25
_LEAST_HEIGHT_MM = 100.0
# The chest wall, and how much further the open air is on the inner side where it is in the picture at all.
_WALL_MM, _FURTHER = 70.0, 2.0
_LEAST_ROWS = 0.4


def side_of_lone_lung(scan: ReducedScan, lung: BoolArray) -> int:
    """Side of the only lung: ``RIGHT``, ``LEFT``, or ``EITHER`` where the picture does not tell.

    Parameters
    ----------
    lung : (slice, row, column)
        On the reduced grid.
    """
    with_lung = np.flatnonzero(lung.any(axis=(1, 2)))
    picked = np.unique(with_lung[np.linspace(0, len(with_lung) - 1, _SAMPLES).astype(int)])
    rows, columns = (np.flatnonzero(lung.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    scale = (rows[-1] - rows[0] + 1) * scan.pixel_mm[0] / _REFERENCE_MM
    spine = _inner_by_spine(scan, picked, (int(columns[0]), int(columns[-1]) + 1), scale)
    wall = _inner_by_wall(scan, lung, picked, scale)
    said = {inner for inner in (spine, wall) if inner}
    if len(said) != 1:
        return EITHER
    # What lies inwards of the right lung lies towards the patient's left: at higher columns.
    return RIGHT if said == {+1} else LEFT


def _inner_by_spine(
    scan: ReducedScan, picked: npt.NDArray[np.intp], columns: tuple[int, int], scale: float
) -> int:
    """Towards which columns the spine lies: +1 or -1, 0 where it is not seen."""
    height_mm = (picked[-1] - picked[0] + 1) * scan.slice_mm
    if scan.intensity is not Intensity.HU or height_mm < _LEAST_HEIGHT_MM * scale:
        return 0
    low, high = _bone_beside(scan, picked, columns, scale)
    least, most = min(low, high), max(low, high)
    if most < _RUNS_THROUGH or least > _OUTER_SIDE or most - least < _LEAST_LEAD:
        return 0
    return 1 if high > low else -1


def _bone_beside(
    scan: ReducedScan, picked: npt.NDArray[np.intp], columns: tuple[int, int], scale: float
) -> tuple[float, float]:
    """Share of the slices with a vertebra's bone, at the best place towards low and towards high columns."""
    size = tuple(max(1, round(_WINDOW_MM * scale / mm)) for mm in scan.pixel_mm[::-1])
    least = _BONE_CM2 * scale**2 / scan.pixel_cm2
    through = np.zeros(scan.values.shape[1:], np.float32)
    for k in picked:
        part = (scan.values[k] > _BONE_HU).astype(np.float32)
        through += cv2.boxFilter(part, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT) >= least
    through /= len(picked)
    beyond = round(_BESIDE_MM * scale / scan.pixel_mm[1])
    start, stop = columns
    quarter = (stop - start) // 3
    low = through[:, max(0, start - beyond) : start + quarter]
    high = through[:, stop - quarter : stop + beyond]
    return float(low.max(initial=0.0)), float(high.max(initial=0.0))


def _inner_by_wall(scan: ReducedScan, lung: BoolArray, picked: npt.NDArray[np.intp], scale: float) -> int:
    """Towards which columns the open air is far: +1 or -1, 0 where that is not seen."""
    low, high = (_wall_mm(scan, lung, picked, flip) / scale for flip in (False, True))
    near, far = min(low, high), max(low, high)
    if near > _WALL_MM or far < _FURTHER * near:
        return 0
    return 1 if high > low else -1


def _wall_mm(scan: ReducedScan, lung: BoolArray, picked: npt.NDArray[np.intp], flip: bool) -> float:
    """Distance from the lung to the open air along the rows, towards low columns or the other way.

    Infinite where most rows end in tissue, or at padding.
    """
    way = slice(None, None, -1) if flip else slice(None)
    distances: list[FloatArray] = []
    rows = 0
    for k in picked:
        inside, air = lung[k][:, way], _open_air(scan, int(k))[:, way]
        hit = np.flatnonzero(inside.any(axis=1))
        hit = hit[len(hit) // 4 : len(hit) - len(hit) // 4]  # the front and the back have no side
        rows += len(hit)
        for row in hit:
            first = int(inside[row].argmax())
            beside = np.flatnonzero(air[row, :first])
            if len(beside):
                distances.append(first - 1 - beside[-1])
    if len(distances) < _LEAST_ROWS * max(rows, 1):
        return float("inf")
    return float(np.median(distances)) * scan.pixel_mm[1]


def _open_air(scan: ReducedScan, k: int) -> BoolArray:
    """Air of a slice around the body, as the finder takes it: no lung that the edge of the picture cuts."""
    padding = scan.padding[k]
    air = (scan.values[k] < scan.open_air) & ~padding
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(air.astype(np.uint8), connectivity=4)
    outside = np.zeros(count, np.bool_)
    if scan.intensity is Intensity.HU:
        edge = cv2.dilate(padding.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        edge[[0, -1]] = True
        edge[:, [0, -1]] = True
        outside[np.unique(labels[edge & air])] = True
        dark = np.bincount(labels[scan.values[k] < OPEN_AIR_HU], minlength=count)
        outside &= dark > 0.5 * boxes[:, cv2.CC_STAT_AREA]
    else:
        outside[[labels[0, 0], labels[0, -1], labels[-1, 0], labels[-1, -1]]] = True
    outside[0] = False
    return np.asarray(outside[labels])
