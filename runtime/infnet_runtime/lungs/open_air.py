"""Air around the body, and in the table, which is no lung."""

from collections.abc import Iterator

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.cancel import go_on
from infnet_runtime.lungs.closing import hull
from infnet_runtime.lungs.components import Labels, Places, areas, box_of, components, members
from infnet_runtime.lungs.reduced import OPEN_AIR_HU, ReducedScan
from infnet_runtime.opencv import cv2
from infnet_runtime.scan.ct import Intensity

# Pieces smaller than this are no air under a table.
_LEAST_PIECE_CM2 = 0.5
# What survives this opening is body, what does not is the shell of a table.
_TABLE_MM = 8.0
# Air under a table reaches over more of the picture's width than one lung.
_WIDE_SHARE = 0.7
# Pieces of tissue from this share of the largest on belong to the body (arms, halves of a chest).
_BODY_SHARE = 0.03
_SQUARE = np.ones((3, 3), np.uint8)


def air_inside(scan: ReducedScan) -> Iterator[BoolArray]:
    """Air that is not around the body or in the table, slice by slice."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (scan.pixels(_TABLE_MM) // 2) + 1,) * 2)
    nowhere = np.zeros(0, np.intp)
    last, rim = np.zeros(scan.padding.shape[1:], np.bool_), nowhere
    for values, padding in zip(scan.values, scan.padding, strict=True):
        go_on()
        air = values < scan.open_air
        tissue = ~air
        inside = values < scan.air
        is_padded = bool(padding.any())
        if is_padded:
            scanned = ~padding
            for mask in (air, tissue, inside):
                mask &= scanned
            if not np.array_equal(padding, last):  # a round field of view is the same in every slice
                beside = cv2.dilate(padding.view(np.uint8), _SQUARE).view(np.bool_) & scanned
                last, rim = padding, np.flatnonzero(beside)
        # The rim of the open air is blurred.
        edge = rim if is_padded else nowhere
        open_air = cv2.dilate(_outside(scan, values, air, edge, _body(tissue, kernel)), _SQUARE)
        inside &= open_air == 0
        yield inside


def _outside(scan: ReducedScan, values: AnyArray, air: BoolArray, rim: Places, body: BoolArray) -> ByteArray:
    """Pieces of air of one slice that are outside of the body: 0 or 1.

    Parameters
    ----------
    rim : (n,)
        Places of the pixels that touch padding.
    """
    is_hu = scan.intensity is Intensity.HU
    number, labels = components(air)
    # In the body or not, open air or not: one pass counts all four.
    kind = body.view(np.uint8) << 1
    if is_hu:
        kind |= (values < OPEN_AIR_HU).view(np.uint8)
    counts = np.bincount((labels + kind * np.int32(number)).ravel(), minlength=4 * number)
    counts = counts.reshape(2, 2, number)  # (in the body, open air, label)
    area = counts.sum(axis=(0, 1))
    at_edge = _at_edge(number, labels, rim)
    outside = np.zeros(number, np.bool_)
    if is_hu:
        # A lung that meets the edge of a tight field of view is no open air.
        outside = at_edge & (counts[:, 1].sum(axis=0) > 0.5 * area)
    else:
        outside[labels[[0, 0, -1, -1], [0, -1, 0, -1]]] = True
        outside[0] = False
    open_area = int(area[outside].sum())
    is_piece = ~outside & (counts[1].sum(axis=0) / np.maximum(area, 1) < 0.5)
    is_piece &= area * scan.pixel_cm2 >= _LEAST_PIECE_CM2
    is_piece[0] = False
    for label in np.flatnonzero(is_piece):
        # Under the table; or lung in a scan cropped so tightly that hardly any open air is in it. That
        # lies beside the tissue in view, and not behind or before all of it from one side to the other.
        behind = is_hu and _is_behind(labels == label, body)
        outside[label] = not at_edge[label] or behind or open_area > area[label]
    return members(labels, outside)


def _at_edge(number: int, labels: Labels, rim: Places) -> BoolArray:
    """Labels that touch the edge of the picture, or padding: (label,)."""
    found = np.zeros(number, np.bool_)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels.ravel()[rim]):
        found[line] = True
    found[0] = False
    return found


def _is_behind(part: BoolArray, body: BoolArray) -> bool:
    """Whether a piece lies behind or before the body, from one side to the other."""
    body_rows = np.flatnonzero(body.any(axis=1))
    columns = box_of(part)[1]
    if len(body_rows) == 0 or columns.stop - columns.start <= _WIDE_SHARE * part.shape[1]:
        return False
    row = float(np.nonzero(part)[0].mean())
    return not body_rows[0] <= row <= body_rows[-1]


def _body(tissue: BoolArray, kernel: AnyArray) -> BoolArray:
    """Convex hull of the body in one slice, without the table under it."""
    opened = cv2.morphologyEx(tissue.view(np.uint8), cv2.MORPH_OPEN, kernel).view(np.bool_)
    number, labels = components(opened)
    if number < 2:
        return np.zeros(tissue.shape, np.bool_)
    if number == 2:
        return hull(opened)
    area = areas(number, labels)
    area[0] = 0
    main = int(area.argmax())
    part_of_body = area >= _BODY_SHARE * area[main]
    large = [int(label) for label in np.flatnonzero(part_of_body)]
    if len(large) > 1:
        rows = {label: box_of(labels == label)[0] for label in large}
        for label in large:
            part_of_body[label] = (rows[label].start + rows[label].stop) / 2 < rows[main].stop
    return hull(members(labels, part_of_body).view(np.bool_))
