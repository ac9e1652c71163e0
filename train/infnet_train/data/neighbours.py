"""The planes below and above a slice, at a distance in millimetres.

A scan with planes 1 mm apart and one with planes 6 mm apart are to show the network the same distance: the
neighbour is the plane nearest to a step below or above. Where the scan ends, a slice repeats itself.
"""

import math

NEIGHBOUR_STEP_MM = 5.0
"""Of the prepared data: the distance at which an average along the patient removed most false infection."""


def planes_apart(spacing_mm: float, step_mm: float) -> int:
    """How many planes away the neighbour is that lies nearest to a step; of two equally near, the farther.

    Parameters
    ----------
    spacing_mm : mm
        Distance of the planes.
    step_mm : mm

    Returns
    -------
    0 where the planes are so far apart that the slice itself is nearest

    Examples
    --------
    >>> planes_apart(1.0, 5.0), planes_apart(6.0, 5.0), planes_apart(12.0, 5.0)
    (5, 1, 0)
    """
    return math.floor(step_mm / spacing_mm + 0.5)


def neighbours_of(k: int, planes: int, spacing_mm: float, step_mm: float) -> tuple[int, int]:
    """Numbers of the plane below and of the plane above, within the scan.

    Parameters
    ----------
    k
        Number of the slice, counted from the feet.
    planes
        How many the scan has.

    Examples
    --------
    >>> neighbours_of(2, 40, 1.0, 5.0)
    (0, 7)
    """
    apart = planes_apart(spacing_mm, step_mm)
    return max(k - apart, 0), min(k + apart, planes - 1)
