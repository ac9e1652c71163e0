"""Closing lungs over vessels and over dense lesions, without taking in heart, liver and spine.

A threshold loses consolidation, so a share of infected lung would fall as disease gets worse. What is given
back: holes, narrow gaps, and dents on the side of the chest wall, where nothing but lung can lie inside the
ribs. Dents on the inner side stay: there lie the heart and the diaphragm.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray

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
    """Fill small holes, and large ones that stand on lung."""
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
    """Rows and columns that hold anything; the mask of one slice must hold something.

    Examples
    --------
    >>> bounding_box(np.array([[0, 0, 0], [0, 1, 1]]))
    (slice(1, 2, None), slice(1, 3, None))
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def hull(mask: BoolArray) -> BoolArray:
    """Smallest convex shape around a mask of one slice: (row, column)."""
    shape = np.zeros(mask.shape, np.uint8)
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows):
        # The ends of each row are enough: what lies between them is no corner.
        used = mask[rows]
        first = used.argmax(axis=1)
        last = mask.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        points = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows], axis=1)])
        cv2.fillConvexPoly(shape, cv2.convexHull(points.astype(np.int32)), 1)
    return shape > 0


def _wall(lungs: ByteArray, width: int) -> BoolArray:
    """Band along the inner side of the common hull of both lungs, which must not be empty."""
    box = bounding_box(lungs)
    common = np.pad(hull(lungs[box] > 0).astype(np.uint8), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    core = cv2.erode(common, kernel, borderValue=0)
    wall = np.zeros(lungs.shape, np.bool_)
    wall[box] = ((common > 0) & (core == 0))[1:-1, 1:-1]
    return wall


def _dents_at_wall(lung: BoolArray, below: BoolArray, wall: BoolArray, bone: BoolArray) -> BoolArray:
    """Parts of the lung's own hull whose open edge lies along the chest wall."""
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
