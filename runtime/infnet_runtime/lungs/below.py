"""What the network takes for lung below a lung, and is hardly part of it.

The network takes what is round and even below a lung, a cyst of the kidney or a loop of bowel, for dense
lung. A lung becomes narrower towards the feet from the last slice in which it holds air; what becomes wider
again there, without air, is something else.
"""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]

# Share of air from which a slice shows lung. In seven scans and six pieces of others the lowest such slice
# has 6 % and more, and those below have none.
_AIRED = 0.02
# Larger than this it is lung whatever its form: a white lower lobe, or a lung with air in its apex alone.
_MOST_OF_A_LUNG = 0.1
# Times as wide as at its narrowest place, and wider by a share of its largest slice: a tip is restless.
_TIMES_AS_WIDE, _WIDER = 1.5, 0.01


def slices_below(lung: Counts, air: Counts) -> int:
    """How many of the lowest slices hold what is hardly lung.

    Parameters
    ----------
    lung : (slice,)
        Voxels that the network takes for one lung, from the feet on.
    air : (slice,)
        Those of them that thresholds take for lung too.

    Examples
    --------
    >>> slices_below(np.array([20, 30, 2, 0, 40, 90, 300, 600]), np.array([0, 0, 0, 0, 35, 88, 290, 590]))
    4
    >>> slices_below(np.array([10, 20, 30, 40, 90, 300, 600]), np.array([0, 0, 0, 35, 88, 290, 590]))
    0
    """
    aired = np.flatnonzero(air > _AIRED * lung)
    if not aired.size:
        return 0  # a white lung
    last = int(aired[0])
    if lung[:last].sum() > _MOST_OF_A_LUNG * lung.sum():
        return 0
    down = lung[last::-1]
    narrowest = np.minimum.accumulate(down)
    wider = (down > _TIMES_AS_WIDE * narrowest) & (down > narrowest + _WIDER * lung.max())
    if not wider.any():
        return 0
    waist = int(np.argmin(down[: int(np.argmax(wider))]))
    return min(last - waist + 1, last)
