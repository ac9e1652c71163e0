"""The planes below and above a slice, at a distance in millimetres.

A scan with planes 1 mm apart and one with planes 6 mm apart are to show the network the same distance: the
neighbour is the plane nearest to a step below or above. Where the scan ends, a slice repeats itself.
"""

import numpy as np

from infnet_runtime.slices.neighbours import neighbour_planes, plane_step

NEIGHBOUR_STEP_MM = 5.0
"""Of the prepared data: the distance at which an average along the patient removed most false infection."""


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
    below, _, above = neighbour_planes(np.array([k]), planes, plane_step(step_mm, spacing_mm))[0].tolist()
    return below, above
