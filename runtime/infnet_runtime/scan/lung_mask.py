"""Where the lungs of a scan are, whoever said so.

It stands beside the scan, and not with the lung finder, because the finder is only one of the ways it comes
about: files and hosts bring masks too, and neither reading nor carrying one takes OpenCV.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.sides import EITHER, LEFT

LungOrigin: TypeAlias = Literal["found", "given", "none"]


@dataclass(frozen=True, eq=False)
class LungMask:
    """Lungs on the grid of a scan; built and checked by :func:`lung_mask`.

    Parameters
    ----------
    labels : (i, j, k)
        In stored order: 1 is the patient's right lung, 2 the left; 3 a found lung whose side is not known.
    grid
        Of the scan.
    origin
        ``found`` by the lung finder, ``given`` by the user, or ``none``: there is no lung to be seen.
    """

    labels: ByteArray
    grid: Grid
    origin: LungOrigin

    def to_lps(self) -> ByteArray:
        """View of the labels in LPS order, (slice, row, column)."""
        return self.grid.to_lps(self.labels)


def lung_mask(
    labels: AnyArray, grid: Grid, *, origin: LungOrigin = "given", source: str = "the scan"
) -> LungMask:
    """Labels as a lung mask, refused when they are none on this grid.

    Parameters
    ----------
    labels : (i, j, k)
        0, 1 and 2 in any type of numbers; booleans are taken for the numbers 0 and 1.
    grid
        Of the scan.
    source
        Name of the scan for messages.

    Raises
    ------
    GeometryError
        If the shape is not that of the grid.
    InputError
        If there is another label.
    """
    grid.to_lps(labels, source=source)  # refuses another shape
    if labels.dtype == np.bool_:
        return LungMask(labels.view(np.uint8), grid, origin)
    if labels.max() > (EITHER if origin == "found" else LEFT):
        raise InputError(
            f"the lung mask has labels up to {labels.max()}, expected 1 (right) and 2 (left); "
            "bring it there with infnet_runtime.lungs.side_labels",
            code=3071,
        )
    as_bytes = labels
    if labels.dtype != np.uint8:
        with np.errstate(invalid="ignore"):  # what has no place in a byte is refused below
            as_bytes = labels.astype(np.uint8)
        if not np.array_equal(as_bytes, labels):
            raise InputError(
                f"the lung mask has values that are no labels ({labels.min():g} is the least), expected 1 "
                "(right) and 2 (left); bring it there with infnet_runtime.lungs.side_labels",
                code=3071,
            )
    return LungMask(as_bytes, grid, origin)
