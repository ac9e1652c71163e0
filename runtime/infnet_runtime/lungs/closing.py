"""Closing lungs over vessels and over dense lesions, without taking in heart, liver and spine.

A threshold loses consolidation, so a share of infected lung would fall as disease gets worse. What is given
back: holes, narrow gaps, and dents on the side of the chest wall, where nothing but lung can lie inside the
ribs. Dents on the inner side stay: there lie the heart and the diaphragm.
"""

from collections.abc import Callable

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.cancel import go_on
from infnet_runtime.lungs.components import Counts, areas, box_of, components, members
from infnet_runtime.opencv import cv2

# A hole up to this area is a vessel or a lesion whatever lies below it.
_HOLE_CM2 = 4.0
# A larger one is a lesion if this share of it stood in closed lung one slice below, and the dome of the
# diaphragm otherwise: liver goes on towards the feet.
_SHARE_OVER_LUNG = 0.6
# Gaps as wide as two of these close: hilar vessels.
_GAP_MM = 6.0
# A dent faces the chest wall if this share of its open edge lies at the common hull of both lungs.
_SHARE_AT_WALL = 0.6
_WALL_MM = 10.0
# A dent that opens to the front, within 60 degrees, is filled only where it stands on lung.
_FORWARD = 0.5
# The spine is no lesion.
_BONE_SHARE = 0.1
# The other lung has to be seen for the common hull to mean the chest.
_OTHER_LUNG_SHARE = 0.15
_SQUARE = np.ones((3, 3), np.uint8)


def close_lungs(
    sides: ByteArray, bone: BoolArray, pixel_cm2: float, pixels: Callable[[float], int]
) -> ByteArray:
    """Fill holes, gaps and dents at the chest wall, for each lung and slice.

    Parameters
    ----------
    sides : (slice, row, column)
        1 the right lung, 2 the left; slices from foot to head.
    bone : (slice, row, column)
        Not filled, except within a lung.
    pixel_cm2 : cm²
        Area of a pixel.
    pixels
        Turns mm into pixels.

    Returns
    -------
    (slice, row, column)
    """
    closed = sides.copy()
    below = np.zeros(sides.shape[1:], np.uint8)
    gap = _disc(pixels(_GAP_MM))
    most = _HOLE_CM2 / pixel_cm2
    single = len(sides) == 1
    for k, plane in enumerate(sides):
        go_on()
        result = closed[k]
        lungs = [np.asarray(plane == side) for side in (1, 2)]
        size = [int(np.count_nonzero(lung)) for lung in lungs]
        wall = _wall(plane, pixels(_WALL_MM)) if all(size) else np.zeros(plane.shape, np.bool_)
        for side, whole in zip((1, 2), lungs, strict=True):
            if not size[side - 1]:
                continue
            # Holes, gaps and dents lie inside the box around the lung: nothing outside is looked at.
            box = box_of(whole)
            lung, other, under, spine = whole[box], lungs[2 - side][box], below[box] == side, bone[k][box]
            # Bone as bright as this inside a lung is a vessel with contrast agent.
            lung = _fill_holes(lung, under, most, alone=single)
            filled = lung | (_close_gaps(lung, gap) & ~spine)
            if size[2 - side] > _OTHER_LUNG_SHARE * size[side - 1]:
                filled |= _dents_at_wall(filled, under, wall[box], spine)
            if not np.array_equal(filled, lung):
                filled = _fill_holes(filled, under, most, alone=single)
            filled &= ~other
            filled &= result[box] == 0
            result[box] |= filled.view(np.uint8) * np.uint8(side)
        below = result
    return closed


def _disc(radius: int) -> ByteArray:
    size = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _fill_holes(lung: BoolArray, below: BoolArray, most: float, *, alone: bool) -> BoolArray:
    """Fill small holes, and large ones that stand on lung."""
    around = cv2.copyMakeBorder((~lung).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    number, labels = components(around.view(np.bool_))
    if number == 2:  # the lung, and what is outside of it
        return lung
    inner = labels[1:-1, 1:-1]
    area = areas(number, labels)
    filled = area <= most
    filled[[0, labels[0, 0]]] = True
    for label in np.flatnonzero(~filled) if not alone else ():
        over_lung = int(np.count_nonzero(below & (inner == label)))
        filled[label] = over_lung >= _SHARE_OVER_LUNG * area[label]
    filled[[0, labels[0, 0]]] = False
    return np.asarray(lung | members(inner, filled).view(np.bool_))


def _close_gaps(lung: BoolArray, disc: ByteArray) -> BoolArray:
    reach = len(disc) - 1
    padded = cv2.copyMakeBorder(lung.view(np.uint8), *(reach,) * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    return np.asarray(closed[reach:-reach, reach:-reach]).view(np.bool_)


def hull(mask: BoolArray) -> BoolArray:
    """Smallest convex shape around a mask of one slice: (row, column)."""
    shape = np.zeros(mask.shape, np.uint8)
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if outlines:
        points = outlines[0] if len(outlines) == 1 else np.concatenate(outlines)
        cv2.fillConvexPoly(shape, cv2.convexHull(points), 1)
    return shape.view(np.bool_)


def _wall(lungs: ByteArray, width: int) -> BoolArray:
    """Band along the inner side of the common hull of both lungs, which must not be empty."""
    lung = lungs > 0
    box = box_of(lung)
    common = hull(lung[box])
    core = cv2.erode(common.view(np.uint8), _disc(width), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    wall = np.zeros(lungs.shape, np.bool_)
    np.logical_and(common, core == 0, out=wall[box])
    return wall


def _dents_at_wall(lung: BoolArray, below: BoolArray, wall: BoolArray, bone: BoolArray) -> BoolArray:
    """Parts of the lung's own hull whose open edge lies along the chest wall."""
    own = hull(lung)
    filled = np.zeros(lung.shape, np.bool_)
    number, labels = components(own & ~lung)
    if number == 1:
        return filled
    core = cv2.erode(own.view(np.uint8), _SQUARE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # Dents are small: from here on only their pixels are looked at.
    places = labels.ravel().nonzero()[0]
    label = labels.ravel()[places]
    is_edge = core.ravel()[places] == 0

    def count(which: BoolArray) -> Counts:
        return np.bincount(label[which], minlength=number)

    open_edge, at_wall = count(is_edge), count(is_edge & wall.ravel()[places])
    kept = (at_wall > 0) & (at_wall >= _SHARE_AT_WALL * open_edge)
    if not kept.any():
        return filled
    area = np.bincount(label, minlength=number)
    kept &= count(bone.ravel()[places]) <= _BONE_SHARE * area
    alone = np.flatnonzero(kept & (count(below.ravel()[places]) < _SHARE_OVER_LUNG * area))
    if len(alone):
        rows, columns = np.divmod(places, lung.shape[1])
        x, y = (
            np.bincount(label[is_edge], n[is_edge], number)[alone] / open_edge[alone]
            - np.bincount(label, n, number)[alone] / area[alone]
            for n in (columns, rows)
        )
        # At the base the two crescents of lung open to the front, towards liver and spleen.
        kept[alone] = -y < _FORWARD * np.hypot(x, y)
    filled.ravel()[places] = kept[label]
    filled &= ~bone
    return filled
