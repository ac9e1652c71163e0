"""Whether the picture has room for a lung that is not in it."""

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.scan.sides import RIGHT

# Of the width of the lung that is there. Where both lungs hold air the narrower has 0.6 and more.
_ROOM = 0.35


def has_room_for(missing: int, lungs: ByteArray) -> bool:
    """Whether a lung could lie on its side of the one that is there.

    A lung that is dense as a whole still needs its half of the chest. Where the picture ends before that, the
    other lung was not scanned: none of it is in the picture, which is not the same as a lung that is not
    seen.

    Parameters
    ----------
    missing
        ``RIGHT`` or ``LEFT``, the side without lung.
    lungs : (slice, row, column)
        The lung of the other side, everything but 0.
    """
    columns = np.flatnonzero(_columns(lungs))
    first, last = int(columns[0]), int(columns[-1])
    room = first if missing == RIGHT else lungs.shape[2] - 1 - last
    return room >= _ROOM * (last - first + 1)


def _columns(lungs: ByteArray) -> np.ndarray:
    """Columns with lung, slice by slice: no array as large as the scan."""
    found = np.zeros(lungs.shape[2], np.bool_)
    for plane in lungs:
        found |= plane.any(axis=0)
    return found
