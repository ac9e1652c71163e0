"""Right or left: telling the two lungs of a mask apart.

Everything is in LPS with axes (slice, row, column), so low columns are the patient's right.
"""

from collections.abc import Callable

import cc3d
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray, DoubleArray
from infnet_runtime.lungs.components import Counts, box_of
from infnet_runtime.scan.sides import LEFT, RIGHT

# The second largest component counts as the other lung from this share of the largest: a lung with half of it
# consolidated still does, a detached lobe tip does not.
_OTHER_LUNG_SHARE = 0.15
# A component belongs to one side as a whole if less than this share lies across the midline. Lungs herniate a
# little in front of the aorta; two lungs that touch have about half on each side.
_ACROSS_SHARE = 0.15
# A cut between touching lungs meets lung in few of the rows: 0 to 0.2 in the scans at hand. Through one
# lung it meets 0.6 and more.
_LARGEST_CUT_SHARE = 0.35
# Price of a row at the far end of the band around the midline; a row through lung costs 1.
_AWAY = 0.3


def split_sides(mask: BoolArray, *, lone_side: Callable[[BoolArray], int] | None = None) -> ByteArray:
    """Label the right and the left lung of a binary mask.

    Parameters
    ----------
    mask : (slice, row, column)
    lone_side
        Says of a lung that is alone which one it is; the side of the image it lies on decides where absent.

    Returns
    -------
    (slice, row, column)
        1 the patient's right lung, 2 the left, 3 one lung whose side ``lone_side`` does not know.
    """
    sides = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return sides
    used = box_of(np.logical_or.reduce(mask, axis=0))
    inner = np.ascontiguousarray(mask[:, *used])
    offset = used[1].start
    parts = cc3d.connected_components(inner, connectivity=6, binary_image=True)
    stats = cc3d.statistics(parts)
    volume = np.asarray(stats["voxel_counts"], np.int64)
    centre = np.asarray(stats["centroids"], np.float64)[:, 2]
    boxes = stats["bounding_boxes"]
    midline = _midline(volume, centre, inner.shape[2])
    cut = None
    if midline is None:
        midline = inner.shape[2] / 2
        cut = _cuts(inner, midline)
        if _cut_share(inner, cut) > _LARGEST_CUT_SHARE:
            if lone_side:
                main = 1 + int(volume[1:].argmax())
                lone = np.zeros(mask.shape, np.bool_)
                lone[:, *used] = parts == main
                sides[:, *used] = _one_and_rest(parts, boxes[main][2], centre, lone_side(lone))
                return sides
            only = RIGHT if centre[1:] @ volume[1:] / volume[1:].sum() + offset < mask.shape[2] / 2 else LEFT
            sides[mask] = only
            return sides
    right_share = _right_of(round(midline), parts, volume, boxes) / np.maximum(volume, 1)
    side_of = np.where(right_share > 0.5, RIGHT, LEFT).astype(np.uint8)
    side_of[0] = 0
    mixed = (np.abs(right_share - 0.5) < 0.5 - _ACROSS_SHARE) & (volume > 0.01 * volume[1:].sum())
    mixed[0] = False
    found = side_of[parts]
    if mixed.any():
        # (slice, row) -> the first column of the left side
        cut = _cuts(inner, midline) if cut is None else cut
        for label in np.flatnonzero(mixed):
            box = boxes[label]
            is_right = np.arange(inner.shape[2])[box[2]] < cut[box[:2]][:, :, None]
            by_cut = np.where(is_right, np.uint8(RIGHT), np.uint8(LEFT))
            np.copyto(found[box], by_cut, where=parts[box] == label)
    sides[:, *used] = found
    return sides


def _right_of(
    column: int, parts: AnyArray, volume: Counts, boxes: list[tuple[slice, slice, slice]]
) -> Counts:
    """Voxels of each component at lower columns, which are the patient's right: (component,)."""
    right = np.zeros(len(volume), np.int64)
    for label, (_, _, columns) in enumerate(boxes[1:], 1):
        if columns.stop <= column:
            right[label] = volume[label]
        elif columns.start < column:
            box = (*boxes[label][:2], slice(columns.start, column))
            right[label] = np.count_nonzero(parts[box] == label)
    return right


def _one_and_rest(parts: AnyArray, columns: slice, centre: DoubleArray, side: int) -> ByteArray:
    """The side of the largest component for all; what lies inwards of it is a corner of the other lung.

    Parameters
    ----------
    parts : (slice, row, column)
        Components.
    columns
        Of the largest.
    centre : (component,)
        Columns of their centres.
    """
    side_of = np.full(len(centre), side, np.uint8)
    if side == RIGHT:
        side_of[centre > columns.stop] = LEFT
    elif side == LEFT:
        side_of[centre < columns.start] = RIGHT
    side_of[0] = 0
    return np.asarray(side_of[parts])


def _midline(volume: npt.NDArray[np.int64], centre: DoubleArray, columns: int) -> float | None:
    """Column between two separate lungs; nothing if there are not two."""
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
    """Path from front to back that meets the least lung, one for each slice.

    Returns
    -------
    (slice, row)
        First column of the left side.
    """
    slices, rows, columns = mask.shape
    reach = max(1, columns // 4)
    start, stop = max(0, round(midline) - reach), min(columns, round(midline) + reach + 1)
    # Where nothing is in the way the path keeps to the midline; a way around a lung is dear.
    away = _AWAY * ((np.arange(start, stop) - midline) / reach) ** 2
    cost = mask[:, :, start:stop] + away.astype(np.float32)
    steps = np.zeros(cost.shape, np.int8)
    ahead = np.full((slices, stop - start + 2), np.inf, np.float32)  # the way so far, and walls beside it
    left, total, right = ahead[:, :-2], ahead[:, 1:-1], ahead[:, 2:]
    total[...] = cost[:, 0]
    for row in range(1, rows):
        # Of equal ways the leftmost.
        from_left, best = left <= total, np.minimum(left, total)
        from_right = right < best
        np.subtract(from_right, from_left & ~from_right, out=steps[:, row], dtype=np.int8)
        np.minimum(best, right, out=best)
        np.add(best, cost[:, row], out=total)
    path = np.empty((slices, rows), np.intp)
    path[:, -1] = total.argmin(axis=1)
    every = np.arange(slices)
    for row in range(rows - 1, 0, -1):
        path[:, row - 1] = path[:, row] + steps[every, row, path[:, row]]
    return np.asarray(path + start)


def _cut_share(mask: BoolArray, cut: npt.NDArray[np.intp]) -> float:
    """Share of the rows with lung in which the path runs through lung."""
    met = np.take_along_axis(mask, cut[:, :, None], axis=2)
    return float(np.count_nonzero(met)) / max(1, int(np.count_nonzero(mask.any(axis=2))))
