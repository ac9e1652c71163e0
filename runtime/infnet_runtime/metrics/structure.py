"""S-measure: does the map have the structure of the truth.

Fan, Cheng, Liu, Li, Borji, "Structure-measure: a new way to evaluate foreground maps", ICCV 2017, with the
details of the MATLAB tool the Inf-Net authors evaluated with. One departure, where that tool divides
zero by zero: a block without pixels (the centroid lies on the border) adds nothing, as its weight is 0.
"""

import numpy as np

from infnet_runtime.arrays import BoolArray, DoubleArray
from infnet_runtime.metrics.inputs import Map, check_image, check_pair, unit_map

EPS = float(np.finfo(np.float64).eps)  # MATLAB's eps
ALPHA = 0.5  # eq. 1; the tool gives it to the object term, the paper to the region term: the same at 0.5


def s_measure(prediction: Map, truth: BoolArray) -> float:
    """S-measure of a map taken as it is, without a stretch of its range.

    Parameters
    ----------
    prediction : (rows, columns)
        Probability in [0, 1] or a map in 8 bits.
    truth : (rows, columns)
        Mask of the annotator.

    Returns
    -------
    in [0, 1]

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.eye(4, dtype=bool)
    >>> round(s_measure(truth, truth), 6)
    1.0
    """
    check_pair(prediction, truth, name="s_measure")
    check_image(truth, name="the S-measure")
    return structure_score(unit_map(prediction), truth)


def structure_score(values: DoubleArray, truth: BoolArray) -> float:
    """S-measure of a pair that has been checked."""
    share = float(truth.mean())
    if share == 0:
        return 1 - float(values.mean())
    if share == 1:
        return float(values.mean())
    score = ALPHA * _object_score(values, truth, share) + (1 - ALPHA) * _region_score(values, truth)
    return max(score, 0.0)


def _object_score(values: DoubleArray, truth: BoolArray, share: float) -> float:
    """Eq. 5-7: the foreground and the background each even, and apart."""
    return share * _evenness(values[truth]) + (1 - share) * _evenness(1 - values[~truth])


def _evenness(values: DoubleArray) -> float:
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0  # MATLAB: std of one value is 0
    return 2 * mean / (mean**2 + 1 + spread + EPS)


def _region_score(values: DoubleArray, truth: BoolArray) -> float:
    """Eq. 3: similarity in the four blocks around the centroid of the truth, weighted by area."""
    row, column = _centroid(truth)
    score = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            block = truth[rows, columns]
            if block.size:
                score += block.size / truth.size * _similarity(values[rows, columns], block)
    return score


def _centroid(truth: BoolArray) -> tuple[int, int]:
    """Rows and columns of the first block: the centroid counted from 1, rounded half up."""
    total = np.count_nonzero(truth)
    row = truth.sum(axis=1) @ np.arange(1, truth.shape[0] + 1) / total
    column = truth.sum(axis=0) @ np.arange(1, truth.shape[1] + 1) / total
    return int(np.floor(row + 0.5)), int(np.floor(column + 0.5))


def _similarity(values: DoubleArray, truth: BoolArray) -> float:
    """Eq. 2, the structural similarity of one block."""
    x, y = float(values.mean()), float(truth.mean())
    dx, dy = values - x, truth - y
    freedom = values.size - 1 + EPS
    variance_x, variance_y = float((dx * dx).sum()) / freedom, float((dy * dy).sum()) / freedom
    numerator = 4 * x * y * float((dx * dy).sum()) / freedom
    denominator = (x**2 + y**2) * (variance_x + variance_y)
    if numerator != 0:
        return numerator / (denominator + EPS)
    return 1.0 if denominator == 0 else 0.0
