"""Labels of an infection mask from elsewhere: 1 infection, or 1 ground glass and 2 consolidation."""

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.scan.labels import whole_labels

CONSOLIDATION_LABEL = 2
_SHOWN = 8


def infection_labels(values: AnyArray, name: str) -> ByteArray:
    """Labels as bytes.

    Parameters
    ----------
    values : (i, j, k)
        Whole numbers of any type, or booleans.
    name
        What the message calls them.

    Raises
    ------
    InputError
        If there are others than 0, 1 and 2.
    """
    labels = whole_labels(values, name)
    if labels.max() > CONSOLIDATION_LABEL:
        present = np.unique(labels).tolist()
        shown = ", ".join(map(str, present[:_SHOWN])) + (" ..." if len(present) > _SHOWN else "")
        raise InputError(
            f"the infection mask {name} has the labels {shown}; expected 0 and 1 (infection), or 0, 1 "
            "(ground glass) and 2 (consolidation): give it these numbers",
            code=3331,
        )
    return np.asarray(labels, np.uint8)
