"""How wide the body is: the sizes by which lungs are known are those of adults, and a child's are smaller."""

import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_runtime.lungs.reduced import ReducedScan
from infnet_runtime.opencv import cv2

# Slices and pixels looked at.
_SAMPLES = 9
_EVERY = 2
# What this opening takes away is table, tube or blanket.
_THICK_MM = 22.0
# A slice shows the body if the picture ends at less of its outline, and so many slices have to. Scans of
# whole chests have up to 0.28, with flanks that touch a round field of view; two scans of 180 mm within the
# chest have more in seven and eight of nine slices.
_MOST_CUT = 0.3
_LEAST_WHOLE = 0.8
# Necks and heads are narrow in every scan: the width is that of the wider slices.
_QUANTILE = 0.8
_SQUARE = np.ones((3, 3), np.uint8)


def body_width_mm(scan: ReducedScan) -> float | None:
    """Width of the body from flank to flank; nothing where the picture does not show both."""
    widths: list[float | None] = []
    pixel_mm = scan.pixel_mm[1] * _EVERY
    size = max(1, round(_THICK_MM / 2 / pixel_mm))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
    for k in np.unique(np.linspace(0, len(scan.values) - 1, _SAMPLES).astype(int)):
        plane = (slice(None, None, _EVERY),) * 2
        air = scan.values[k][plane] < scan.open_air
        body = cv2.morphologyEx(
            (~_open(air, scan.padding[k][plane])).astype(np.uint8), cv2.MORPH_OPEN, kernel
        )
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(body, connectivity=4)
        if count < 2:
            continue
        main = 1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())
        cut = _share_at_edge(labels == main, scan.padding[k][plane])
        widths.append(boxes[main, cv2.CC_STAT_WIDTH] * pixel_mm if cut < _MOST_CUT else None)
    whole = [width for width in widths if width is not None]
    if not whole or len(whole) < _LEAST_WHOLE * len(widths):
        return None
    return float(np.quantile(whole, _QUANTILE))


def _share_at_edge(body: BoolArray, padding: BoolArray) -> float:
    """Share of the outline of the body at which the picture ends."""
    core = cv2.erode(body.astype(np.uint8), _SQUARE, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    outline = body & ~core
    ends = cv2.dilate(padding.astype(np.uint8), _SQUARE) > 0
    ends[[0, -1]] = True
    ends[:, [0, -1]] = True
    return float(np.count_nonzero(outline & ends)) / max(1, int(np.count_nonzero(outline)))


def _open(air: BoolArray, padding: BoolArray) -> BoolArray:
    """Air and padding that hang together with the edge of the picture."""
    count, labels = cv2.connectedComponents((air | padding).astype(np.uint8), connectivity=4)
    outside = np.zeros(count, np.bool_)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[line] = True
    outside[0] = False
    return np.asarray(outside[labels])
