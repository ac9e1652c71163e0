"""Which air in a scan is lung: not the air around the body, not the windpipe, not gas in the bowel."""

from collections.abc import Iterator

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, DoubleArray
from infnet_runtime.lungs.closing import hull
from infnet_runtime.lungs.reduced import OPEN_AIR_HU, ReducedScan
from infnet_runtime.scan.ct import Intensity

# The lumen of a windpipe is darker somewhere, at 2 mm and through the blur of its wall.
_AIRWAY_HU = -850.0
_AIRWAY_CM2 = (0.3, 10.0)
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
# What survives this opening is body, what does not is the shell of a table.
_TABLE_MM = 8.0
# Air under a table reaches over more of the picture's width than one lung.
_WIDE_SHARE = 0.7
# A lung has a body around it, also in a tight field of view: there it has 0.4 of the picture.
_ALL_OF_PICTURE = 0.9
# Pieces of tissue from this share of the largest on belong to the body (arms, halves of a chest).
_BODY_SHARE = 0.03
_SQUARE = np.ones((3, 3), np.uint8)


def lung_air(scan: ReducedScan) -> BoolArray:
    """Voxels of the reduced grid that are aerated lung, both sides together: (slice, row, column)."""
    inside = np.stack(list(_air_inside(scan)))
    inside &= ~_airways(scan, inside)
    lung = _lung_components(scan, inside)
    seen = ~scan.padding[lung.any(axis=(1, 2))]
    if scan.intensity is Intensity.HU and np.count_nonzero(lung) > _ALL_OF_PICTURE * np.count_nonzero(seen):
        return np.zeros_like(lung)  # nothing around it: no body
    return lung


def _air_inside(scan: ReducedScan) -> Iterator[BoolArray]:
    """Air that is not around the body or in the table, slice by slice."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (scan.pixels(_TABLE_MM) // 2) + 1,) * 2)
    is_hu = scan.intensity is Intensity.HU
    for values, padding in zip(scan.values, scan.padding, strict=True):
        air = (values < scan.open_air) & ~padding
        labels, boxes, centres = _components(air)
        edge = np.zeros(air.shape, np.bool_)
        edge[[0, -1]] = True
        edge[:, [0, -1]] = True
        if padding.any():
            edge |= cv2.dilate(padding.astype(np.uint8), _SQUARE) > 0
        outside = np.zeros(len(boxes), np.bool_)
        at_edge = np.unique(labels[edge & air])
        dark = values < OPEN_AIR_HU
        for label in at_edge:
            if is_hu:
                # A lung that meets the edge of a tight field of view is no open air.
                outside[label] = np.count_nonzero(dark & (labels == label)) > 0.5 * boxes[label, 4]
            else:
                outside[label] = label in (labels[0, 0], labels[0, -1], labels[-1, 0], labels[-1, -1])
        open_area = int(boxes[outside, 4].sum())
        body = _body(~air & ~padding, kernel)
        rows = np.flatnonzero(body.any(axis=1))
        share_inside = np.bincount(labels[body], minlength=len(boxes)) / np.maximum(boxes[:, 4], 1)
        for label in np.flatnonzero((share_inside < 0.5) & ~outside):
            if label == 0 or boxes[label, 4] * scan.pixel_cm2 < _LEAST_PIECE_CM2:
                continue
            # Under the table; or lung in a scan cropped so tightly that hardly any open air is in it. That
            # lies beside the tissue in view, and not behind or before all of it from one side to the other.
            behind = is_hu and len(rows) > 0 and not rows[0] <= centres[label, 1] <= rows[-1]
            behind &= boxes[label, 2] > _WIDE_SHARE * air.shape[1]
            outside[label] = label not in at_edge or behind or open_area > boxes[label, 4]
        # The rim of the open air is blurred.
        open_air = cv2.dilate(outside.view(np.uint8)[labels], _SQUARE) > 0
        yield (values < scan.air) & ~padding & ~open_air


def _body(tissue: BoolArray, kernel: AnyArray) -> BoolArray:
    """Convex hull of the body in one slice, without the table under it."""
    opened = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    labels, boxes, _ = _components(opened)
    if len(boxes) < 2:
        return np.zeros(tissue.shape, np.bool_)
    area = boxes[:, 4].copy()
    area[0] = 0
    main = int(area.argmax())
    bottom = boxes[main, 1] + boxes[main, 3]
    part_of_body = (area >= _BODY_SHARE * area[main]) & (boxes[:, 1] + boxes[:, 3] / 2 < bottom)
    return hull(part_of_body[labels])


def _airways(scan: ReducedScan, inside: BoolArray) -> BoolArray:
    """Windpipe and main bronchi: small air between the lungs, followed through the slices up to a lung."""
    found = np.zeros(inside.shape, np.bool_)
    planes = [_components(plane) for plane in inside]
    least, most = (area / scan.pixel_cm2 for area in _AIRWAY_CM2)

    def airy(k: int, part: BoolArray) -> bool:
        return scan.intensity is not Intensity.HU or float(np.min(scan.values[k][part])) < _AIRWAY_HU

    candidates: list[list[int]] = []
    for k, (labels, boxes, centres) in enumerate(planes):
        small = [i for i in range(1, len(boxes)) if least <= boxes[i, 4] <= most]
        candidates.append(small)
        tissue = np.flatnonzero(np.count_nonzero(scan.values[k] >= scan.air, axis=0) > 0)
        if len(tissue) == 0:
            continue
        middle, width = (tissue[0] + tissue[-1]) / 2, tissue[-1] - tissue[0] + 1
        for i in small:
            _, _, w, h, area = boxes[i]
            is_round = area > 0.5 * w * h and max(w, h) < 2.5 * min(w, h) + 2
            is_central = abs(centres[i, 0] - middle) < 0.1 * width
            if is_round and (is_central or _is_gas_filled(scan, k, labels == i)) and airy(k, labels == i):
                found[k] |= labels == i
    for order in (range(len(planes) - 2, -1, -1), range(1, len(planes))):
        for k in order:
            last = found[k + 1] if order.step < 0 else found[k - 1]
            if not last.any():
                continue
            labels = planes[k][0]
            for i in candidates[k]:
                part = labels == i
                if np.count_nonzero(part & last) > 0.25 * min(
                    np.count_nonzero(part), np.count_nonzero(last)
                ) and airy(k, part):
                    found[k] |= part
    return found


def _is_gas_filled(scan: ReducedScan, k: int, part: BoolArray) -> bool:
    """Whether a part of one slice is pure gas, as the windpipe is where it does not lie in the middle."""
    return scan.intensity is Intensity.HU and float(np.median(scan.values[k][part])) < OPEN_AIR_HU


def _lung_components(scan: ReducedScan, inside: BoolArray) -> BoolArray:
    """The components of air that look like lung: large enough, and not as dark as gas."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    opened = np.stack([cv2.morphologyEx(plane.astype(np.uint8), cv2.MORPH_OPEN, kernel) for plane in inside])
    parts = cc3d.connected_components(opened, connectivity=6)
    count = int(parts.max())
    area = np.zeros(count + 1, np.int64)  # of the largest section
    for plane in parts:
        np.maximum(area, np.bincount(plane[plane > 0], minlength=count + 1), out=area)
    gas = _gas_level(scan, inside)
    stats = cc3d.statistics(parts)
    volume, boxes = np.asarray(stats["voxel_counts"], np.int64), stats["bounding_boxes"]

    def is_gas(label: int) -> bool:
        box = boxes[label]
        part = parts[box] == label
        core = np.stack([cv2.erode(plane.astype(np.uint8), kernel) for plane in part]) > 0
        values = scan.values[box][core if core.any() else part]
        if scan.intensity is Intensity.WINDOWED:
            return float(np.median(values)) < gas
        if area[label] * scan.pixel_cm2 < _CRESCENT_CM2:
            return float(np.quantile(values, _GAS_QUANTILE_SMALL)) < OPEN_AIR_HU
        return float(np.quantile(values, _GAS_QUANTILE)) < gas

    accepted = np.zeros(count + 1, np.bool_)
    for label in np.flatnonzero(area * scan.pixel_cm2 >= _LEAST_AREA_CM2):
        accepted[label] = not is_gas(int(label))
    if scan.intensity is Intensity.WINDOWED and not accepted.any():
        accepted = area * scan.pixel_cm2 >= _TOO_LARGE_FOR_GAS_CM2
    if accepted.any():
        accepted &= volume >= _LEAST_SHARE * volume[accepted].max()
        inside_hull = np.zeros(count + 1, np.int64)
        for plane in parts:
            inside_hull += np.bincount(plane[hull(accepted[plane]) & (plane > 0)], minlength=count + 1)
        share_between = inside_hull / np.maximum(volume, 1)
        pieces = (share_between > 0.8) & (area * scan.pixel_cm2 >= _LEAST_PIECE_CM2)
        for label in np.flatnonzero(pieces & ~accepted):
            accepted[label] = not is_gas(int(label))
    lung = np.zeros(parts.shape, np.bool_)
    accepted_byte = accepted.astype(np.uint8)
    for plane, found, air in zip(parts, lung, inside, strict=True):
        # What the opening took away at the rim comes back.
        np.logical_and(cv2.dilate(accepted_byte[plane], _SQUARE), air, out=found)
    return lung


def _gas_level(scan: ReducedScan, inside: BoolArray) -> float:
    """Median below which a component is gas and not lung."""
    if scan.intensity is Intensity.HU:
        return _GAS_HU
    open_air = (scan.values < scan.air) & (scan.values >= 0.5) & ~inside
    if np.count_nonzero(open_air) < 50:
        return -1.0
    darkest = float(np.median(scan.values[open_air]))
    return darkest + 0.05 * (scan.air - darkest)


def _components(
    mask: BoolArray,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], DoubleArray]:
    """Components of one slice: labels, boxes with area (left, top, width, height, area), centres (x, y)."""
    _, labels, boxes, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return (
        np.asarray(labels, np.int32),
        np.asarray(boxes, np.int32),
        np.asarray(centres, np.float64),
    )
