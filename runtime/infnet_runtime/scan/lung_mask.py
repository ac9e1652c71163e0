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
from infnet_runtime.scan.labels import whole_labels
from infnet_runtime.scan.sides import EITHER, LEFT

LungOrigin: TypeAlias = Literal["network", "threshold", "given", "none"]


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
        Found by the ``network`` or by ``threshold``, ``given`` by the user, or ``none``: there is no lung to
        be seen.
    remark
        What of a mask given was not taken as it stands, such as stray labels; empty where all was.
    cut_slices
        Slices in which the lungs of a mask with one label touch, and were cut apart.
    """

    labels: ByteArray
    grid: Grid
    origin: LungOrigin
    remark: str = ""
    cut_slices: int = 0

    def to_lps(self) -> ByteArray:
        """View of the labels in LPS order, (slice, row, column)."""
        return self.grid.to_lps(self.labels)


def lung_mask(
    labels: AnyArray,
    grid: Grid,
    *,
    origin: LungOrigin = "given",
    source: str = "the scan",
    remark: str = "",
    cut_slices: int = 0,
) -> LungMask:
    """Labels as a lung mask, refused when they are none on this grid.

    Parameters
    ----------
    labels : (i, j, k)
        0, 1 and 2 in any type of numbers; or 0 and 3, one lung of unknown side.
    grid
        Of the scan.
    source
        Name of the scan for messages.
    remark, cut_slices
        As in :class:`LungMask`.

    Raises
    ------
    GeometryError
        If the shape is not that of the grid.
    InputError
        If there is another label, or no lung in a mask that is given.
    """
    grid.to_lps(labels, source=source)  # refuses another shape
    if labels.dtype == np.bool_:
        raise InputError(
            "the lung mask is of booleans, expected 1 (right) and 2 (left); split it with "
            "infnet_runtime.lungs.given_lungs",
            code=3071,
        )
    whole = whole_labels(labels, "the lung mask")
    if whole.max() > LEFT and not _is_of_unknown_side(whole):
        raise InputError(
            f"the lung mask has labels up to {whole.max()}, expected 1 (right) and 2 (left); bring it there "
            "with infnet_runtime.lungs.given_lungs",
            code=3071,
        )
    if origin == "given" and not whole.any():
        raise InputError(
            "the lung mask is empty: no voxel is marked; give the mask of this scan, or none and the lungs "
            "are found",
            code=3066,
        )
    return LungMask(whole, grid, origin, remark, cut_slices)


def _is_of_unknown_side(labels: ByteArray) -> bool:
    """Whether 3 stands alone: beside other labels it is something else, an infection for example."""
    return bool(labels.max() == EITHER) and all(
        bool(((plane == 0) | (plane == EITHER)).all()) for plane in labels
    )
