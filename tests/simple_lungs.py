"""The lung finder written down plainly, one slice and one question after another.

The finder of the package must give the same labels, bit for bit: it looks at less, counts more at once, and
keeps numbers short. Padding, the width of the body and the side of a lone lung are taken from it.
"""

from collections.abc import Callable, Iterator
from functools import partial

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray, DoubleArray, FloatArray
from infnet_runtime.lungs.body import body_width_mm
from infnet_runtime.lungs.lone import side_of_lone_lung
from infnet_runtime.lungs.padding import padding_mask, padding_values
from infnet_runtime.lungs.reduced import ReducedScan
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

BONE_HU = 250.0
_SMALL_BODY_MM = 220.0
_PIXEL_MM = 2.0
_LARGEST_FIELD_MM = 500.0
_AIR_HU = -300.0
OPEN_AIR_HU = -930.0
_OPEN_HU = -500.0
_PADDING_HU = -1100.0
_NOT_SCANNED = {Intensity.HU: -2048.0, Intensity.WINDOWED: 0.0}
_LOWEST_HU, _HIGHEST_HU = -1024.0, 600.0
_WINDOWED_AIR = (40.0, 170.0)
_LEAST_CONTRAST = 20.0
_TOWARDS_TISSUE = 0.35
_AIRWAY_HU = -850.0
_AIRWAY_CM2 = (0.3, 10.0)
_GAS_HU = -960.0
_GAS_QUANTILE = 0.25
_CRESCENT_CM2 = 20.0
_GAS_QUANTILE_SMALL = 0.1
_TOO_LARGE_FOR_GAS_CM2 = 40.0
_LEAST_AREA_CM2 = 6.0
_LEAST_PIECE_CM2 = 0.5
_LEAST_SHARE = 0.02
_TABLE_MM = 8.0
_WIDE_SHARE = 0.7
_ALL_OF_PICTURE = 0.9
_BODY_SHARE = 0.03
_SQUARE = np.ones((3, 3), np.uint8)
_OTHER_LUNG_SHARE = 0.15
_ACROSS_SHARE = 0.15
_LARGEST_CUT_SHARE = 0.35
_AWAY = 0.3
_HOLE_CM2 = 4.0
_SHARE_OVER_LUNG = 0.6
_GAP_MM = 6.0
_SHARE_AT_WALL = 0.6
_WALL_MM = 10.0
_FORWARD = 0.5
_BONE_SHARE = 0.1


def find_lungs(
    voxels: npt.NDArray[np.generic], spacing_mm: tuple[float, float, float], intensity: Intensity
) -> ByteArray:
    if voxels.size == 0:
        return np.zeros(voxels.shape, np.uint8)
    scan = reduce_scan(voxels, spacing_mm, intensity)
    if scan is None:
        return np.zeros(voxels.shape, np.uint8)
    if intensity is Intensity.HU or len(voxels) > 1:  # the size of a picture is nominal
        width_mm = body_width_mm(scan)
        if width_mm is not None and width_mm < _SMALL_BODY_MM:
            # A child as large as an adult: then all sizes by which lungs are known hold.
            larger = _SMALL_BODY_MM / width_mm
            grown = tuple(mm * larger for mm in spacing_mm)
            scan = reduce_scan(voxels, (grown[0], grown[1], grown[2]), intensity, largest_field_mm=np.inf)
            if scan is None:
                return np.zeros(voxels.shape, np.uint8)
    sides = split_sides(lung_air(scan), lone_side=partial(side_of_lone_lung, scan))
    side_unknown = bool((sides == EITHER).any())
    if side_unknown:
        np.minimum(sides, RIGHT, out=sides)
    bone = np.zeros(sides.shape, np.bool_)
    if intensity is Intensity.HU:
        bone = scan.values > BONE_HU
    closed = close_lungs(sides, bone, scan.pixel_cm2, scan.pixels)
    found = enlarge(closed, voxels.shape, scan.step)
    return np.asarray(found * np.uint8(EITHER)) if side_unknown else found


def reduce_scan(
    voxels: npt.NDArray[np.generic],
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    *,
    largest_field_mm: float = _LARGEST_FIELD_MM,
) -> ReducedScan | None:
    slices, rows, columns = voxels.shape
    nominal = min(1.0, largest_field_mm / max(rows * spacing_mm[1], columns * spacing_mm[2]))
    small = [
        max(1, min(n, round(n * mm * nominal / _PIXEL_MM)))
        for n, mm in ((rows, spacing_mm[1]), (columns, spacing_mm[2]))
    ]
    pixel_mm = (rows * spacing_mm[1] * nominal / small[0], columns * spacing_mm[2] * nominal / small[1])
    step = max(1, int(_PIXEL_MM / spacing_mm[0]))
    picked = range(min(step // 2, slices - 1), slices, step)
    values = np.empty((len(picked), small[0], small[1]), np.float32)
    padding = np.zeros(values.shape, np.bool_)
    last_pad, small_pad = np.zeros((rows, columns), np.uint8), np.zeros(values.shape[1:], np.bool_)
    filled_with = padding_values(voxels, intensity)
    for k, plane_index in enumerate(picked):
        plane = np.ascontiguousarray(voxels[plane_index], np.float32)
        not_scanned = padding_mask(voxels[plane_index], filled_with, intensity) if filled_with else None
        if not_scanned is not None:
            plane[not_scanned] = _NOT_SCANNED[intensity]
        if intensity is Intensity.HU:
            pad = (plane < _PADDING_HU).view(np.uint8)
            plane = np.clip(plane, _LOWEST_HU, _HIGHEST_HU)
            cv2.resize(plane, small[::-1], dst=values[k], interpolation=cv2.INTER_AREA)
            # Padding of exactly -1024 has no noise.
            padding[k] = values[k] <= _LOWEST_HU + 0.5
            if not np.array_equal(pad, last_pad):  # a round field of view is the same in every slice
                last_pad = pad
                small_pad = cv2.resize(pad * 255, small[::-1], interpolation=cv2.INTER_AREA) > 127
            padding[k] |= small_pad
        else:
            cv2.resize(plane, small[::-1], dst=values[k], interpolation=cv2.INTER_AREA)
    levels = (_AIR_HU, _OPEN_HU) if intensity is Intensity.HU else _windowed_air(values)
    return (
        None
        if levels is None
        else ReducedScan(values, padding, pixel_mm, spacing_mm[0] * step, step, *levels, intensity)
    )


def _windowed_air(values: FloatArray) -> tuple[float, float] | None:
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if float(grey.max()) - float(grey.min()) < _LEAST_CONTRAST:
        return None
    level, _ = cv2.threshold(grey.reshape(grey.shape[0], -1), 0, 255, cv2.THRESH_OTSU)
    tissue = float(np.median(grey[grey > level]))
    # Otsu lies half-way; ground glass reaches further up.
    air = float(np.clip(level + _TOWARDS_TISSUE * (tissue - level), *_WINDOWED_AIR))
    return air, min(float(level), air)


def enlarge(small: ByteArray, shape: tuple[int, ...], step: int) -> ByteArray:
    labels = np.zeros(shape, np.uint8)
    first = min(step // 2, shape[0] - 1)
    for k in range(shape[0]):
        place = min(max((k - first) / step, 0.0), len(small) - 1.0)
        low = int(place)
        high, weight = min(low + 1, len(small) - 1), place - low
        for side in (RIGHT, LEFT):
            plane = (1.0 - weight) * (small[low] == side) + weight * (small[high] == side)
            large = cv2.resize(plane.astype(np.float32), shape[:0:-1], interpolation=cv2.INTER_LINEAR)
            labels[k, large > 0.5] = side
    return labels


def lung_air(scan: ReducedScan) -> BoolArray:
    inside = np.stack(list(_air_inside(scan)))
    inside &= ~_airways(scan, inside)
    lung = _lung_components(scan, inside)
    seen = ~scan.padding[lung.any(axis=(1, 2))]
    if scan.intensity is Intensity.HU and np.count_nonzero(lung) > _ALL_OF_PICTURE * np.count_nonzero(seen):
        return np.zeros_like(lung)  # nothing around it: no body
    return lung


def _air_inside(scan: ReducedScan) -> Iterator[BoolArray]:
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
    return scan.intensity is Intensity.HU and float(np.median(scan.values[k][part])) < OPEN_AIR_HU


def _lung_components(scan: ReducedScan, inside: BoolArray) -> BoolArray:
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
    _, labels, boxes, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return (
        np.asarray(labels, np.int32),
        np.asarray(boxes, np.int32),
        np.asarray(centres, np.float64),
    )


def split_sides(mask: BoolArray, *, lone_side: Callable[[BoolArray], int] | None = None) -> ByteArray:
    sides = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return sides
    used = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(_any_along(mask)))
    inner = np.ascontiguousarray(mask[:, used[0], used[1]])
    offset = used[1].start
    parts = cc3d.connected_components(inner, connectivity=6)
    stats = cc3d.statistics(parts)
    volume = np.asarray(stats["voxel_counts"], np.int64)
    centre = np.asarray(stats["centroids"], np.float64)[:, 2]
    midline = _midline(volume, centre, inner.shape[2])
    if midline is None:
        cut = _cuts(inner, inner.shape[2] / 2)
        if _cut_share(inner, cut) > _LARGEST_CUT_SHARE:
            if lone_side:
                main = 1 + int(volume[1:].argmax())
                lone = np.zeros(mask.shape, np.bool_)
                lone[:, used[0], used[1]] = parts == main
                columns = stats["bounding_boxes"][main][2]
                sides[:, used[0], used[1]] = _one_and_rest(parts, columns, centre, lone_side(lone))
                return sides
            only = RIGHT if centre[1:] @ volume[1:] / volume[1:].sum() + offset < mask.shape[2] / 2 else LEFT
            sides[mask] = only
            return sides
        midline = inner.shape[2] / 2
    right_volume = np.bincount(parts[:, :, : round(midline)].ravel(), minlength=len(volume))
    right_share = right_volume / np.maximum(volume, 1)
    side_of = np.where(right_share > 0.5, RIGHT, LEFT).astype(np.uint8)
    side_of[0] = 0
    mixed = (np.abs(right_share - 0.5) < 0.5 - _ACROSS_SHARE) & (volume > 0.01 * volume[1:].sum())
    mixed[0] = False
    found = side_of[parts]
    if mixed.any():
        # (slice, row) -> the first column of the left side
        cut = _cuts(inner, midline)
        by_cut = np.where(np.arange(inner.shape[2]) < cut[:, :, None], RIGHT, LEFT).astype(np.uint8)
        np.copyto(found, by_cut, where=mixed[parts])
    sides[:, used[0], used[1]] = found
    return sides


def _one_and_rest(parts: AnyArray, columns: slice, centre: DoubleArray, side: int) -> ByteArray:
    side_of = np.full(len(centre), side, np.uint8)
    if side == RIGHT:
        side_of[centre > columns.stop] = LEFT
    elif side == LEFT:
        side_of[centre < columns.start] = RIGHT
    side_of[0] = 0
    return np.asarray(side_of[parts])


def _any_along(mask: BoolArray) -> BoolArray:
    return np.asarray(mask.any(axis=0))


def _midline(volume: npt.NDArray[np.int64], centre: DoubleArray, columns: int) -> float | None:
    order = np.argsort(volume[1:])[::-1] + 1
    if len(order) < 2:
        return None
    first, second = order[:2]
    apart = abs(centre[first] - centre[second])
    # Two lobes of one lung lie above each other, two lungs side by side.
    if volume[second] < _OTHER_LUNG_SHARE * volume[first] or apart < 0.3 * columns:
        return None
    return float(centre[first] + centre[second]) / 2


def _cuts(mask: BoolArray, midline: float) -> npt.NDArray[np.intp]:
    slices, rows, columns = mask.shape
    reach = max(1, columns // 4)
    start, stop = max(0, round(midline) - reach), min(columns, round(midline) + reach + 1)
    # Where nothing is in the way the path keeps to the midline; a way around a lung is dear.
    away = _AWAY * ((np.arange(start, stop) - midline) / reach) ** 2
    cost = mask[:, :, start:stop] + away.astype(np.float32)
    steps = np.empty(cost.shape, np.int8)
    total = cost[:, 0].copy()
    for row in range(1, rows):
        padded = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        choices = np.stack([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]])
        best = choices.argmin(axis=0)
        steps[:, row] = best - 1
        total = np.take_along_axis(choices, best[None], axis=0)[0] + cost[:, row]
    path = np.empty((slices, rows), np.intp)
    path[:, -1] = total.argmin(axis=1)
    every = np.arange(slices)
    for row in range(rows - 1, 0, -1):
        path[:, row - 1] = path[:, row] + steps[every, row, path[:, row]]
    return np.asarray(path + start)


def _cut_share(mask: BoolArray, cut: npt.NDArray[np.intp]) -> float:
    met = np.take_along_axis(mask, cut[:, :, None], axis=2)
    return float(np.count_nonzero(met)) / max(1, int(np.count_nonzero(mask.any(axis=2))))


def close_lungs(
    sides: ByteArray, bone: BoolArray, pixel_cm2: float, pixels: Callable[[float], int]
) -> ByteArray:
    closed = sides.copy()
    below = np.zeros(sides.shape[1:], np.uint8)
    single = len(sides) == 1
    for k, plane in enumerate(sides):
        result = closed[k]
        lungs = [np.asarray(plane == side) for side in (1, 2)]
        size = [int(np.count_nonzero(lung)) for lung in lungs]
        wall = _wall(plane, pixels(_WALL_MM)) if all(size) else np.zeros(plane.shape, np.bool_)
        for side, whole in zip((1, 2), lungs, strict=True):
            if not size[side - 1]:
                continue
            # Holes, gaps and dents lie inside the box around the lung: nothing outside is looked at.
            box = bounding_box(whole)
            lung, other, under, spine = whole[box], lungs[2 - side][box], below[box] == side, bone[k][box]
            # Bone as bright as this inside a lung is a vessel with contrast agent.
            lung = _fill_holes(lung, under, _HOLE_CM2 / pixel_cm2, alone=single)
            filled = lung | (_close_gaps(lung, pixels(_GAP_MM)) & ~spine)
            if size[2 - side] > _OTHER_LUNG_SHARE * size[side - 1]:
                filled |= _dents_at_wall(filled, under, wall[box], spine)
            filled = _fill_holes(filled, under, _HOLE_CM2 / pixel_cm2, alone=single)
            result[box][filled & ~other & (result[box] == 0)] = side
        below = result
    return closed


def _fill_holes(lung: BoolArray, below: BoolArray, most: float, *, alone: bool) -> BoolArray:
    around = np.pad(~lung, 1, constant_values=True)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(around.astype(np.uint8), connectivity=4)
    over_lung = np.bincount(labels[1:-1, 1:-1][below], minlength=count)
    area = boxes[:, 4]
    filled = area <= most
    if not alone:
        filled |= over_lung >= _SHARE_OVER_LUNG * area
    filled[labels[0, 0]] = False
    filled[0] = False
    return np.asarray(lung | filled[labels[1:-1, 1:-1]])


def _close_gaps(lung: BoolArray, radius: int) -> BoolArray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(lung.astype(np.uint8), 2 * radius)
    inner = slice(2 * radius, -2 * radius)
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[inner, inner] > 0)


def bounding_box(mask: npt.NDArray[np.generic]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def hull(mask: BoolArray) -> BoolArray:
    points, shape = cv2.findNonZero(mask.astype(np.uint8)), np.zeros(mask.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(shape, cv2.convexHull(points), 1)
    return shape > 0


def _wall(lungs: ByteArray, width: int) -> BoolArray:
    box = bounding_box(lungs)
    common = np.pad(hull(lungs[box] > 0).astype(np.uint8), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    core = cv2.erode(common, kernel, borderValue=0)
    wall = np.zeros(lungs.shape, np.bool_)
    wall[box] = ((common > 0) & (core == 0))[1:-1, 1:-1]
    return wall


def _dents_at_wall(lung: BoolArray, below: BoolArray, wall: BoolArray, bone: BoolArray) -> BoolArray:
    own = hull(lung)
    dents = own & ~lung
    core = cv2.erode(np.pad(own.astype(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    edge = dents & (core == 0)
    count, labels, boxes, centres = cv2.connectedComponentsWithStats(dents.astype(np.uint8), connectivity=4)
    open_edge = np.bincount(labels[edge], minlength=count)
    at_wall = np.bincount(labels[edge & wall], minlength=count)
    kept = at_wall >= _SHARE_AT_WALL * np.maximum(open_edge, 1)
    kept &= np.bincount(labels[bone], minlength=count) <= _BONE_SHARE * boxes[:, 4]
    kept[0] = False
    over_lung = np.bincount(labels[below], minlength=count) >= _SHARE_OVER_LUNG * boxes[:, 4]
    for label in np.flatnonzero(kept & ~over_lung):
        rows, columns = np.nonzero(edge & (labels == label))
        x, y = columns.mean() - centres[label, 0], rows.mean() - centres[label, 1]
        # At the base the two crescents of lung open to the front, towards liver and spleen.
        kept[label] = -y < _FORWARD * np.hypot(x, y)
    return np.asarray(kept[labels] & ~bone)
