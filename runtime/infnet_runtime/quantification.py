"""How much infection: millilitres and share of the lung, in all and by side.

A voxel counts as infection where the mask says so inside the lungs; its volume is the determinant of the
affine, never the header's spacing. Where a number cannot be given it is ``None`` with a reason.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infnet_runtime.errors import InputError

RIGHT, LEFT = 1, 2
OUTSIDE_FLAG_FRACTION = 0.02  # above this share, consolidation was probably left out of the lungs


@dataclass(frozen=True)
class Burden:
    """Infection of one region.

    Parameters
    ----------
    lung_ml, infection_ml : ml
    infection_percent : % of the lung
        None where the region has no lung.
    """

    lung_ml: float
    infection_ml: float
    infection_percent: float | None


@dataclass(frozen=True)
class Quantification:
    """Infection of one scan.

    Parameters
    ----------
    both, right, left
        Whole lungs, and the patient's right and left lung. None where the scan has no voxel size.
    slices, slices_with_lung, slices_with_infection
        Counts of axial slices.
    infection_outside_lungs_ml : ml
        What the network marked outside the lungs; not part of the mask.
    flags
        What a reader must know before trusting a number.
    reasons
        Name of a missing number to why it is missing.
    """

    both: Burden | None
    right: Burden | None
    left: Burden | None
    slices: int
    slices_with_lung: int
    slices_with_infection: int
    infection_outside_lungs_ml: float | None
    flags: tuple[str, ...]
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def quantify(
    infection: npt.NDArray[np.uint8],
    lungs: npt.NDArray[np.uint8],
    voxel_volume_ml: float | None,
    *,
    outside_voxels: int = 0,
    flags: tuple[str, ...] = (),
) -> Quantification:
    """Measure a mask.

    Parameters
    ----------
    infection : (slices, rows, columns)
        Infection mask, 0 or 1, inside the lungs.
    lungs : (slices, rows, columns)
        1 is the patient's right lung, 2 the left.
    voxel_volume_ml : ml
        None where the scan has no voxel size, as a picture.
    outside_voxels
        Voxels that the network marked outside the lungs.
    flags
        Known already; further ones are added.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> mask, lungs = np.zeros((2, 10, 10), np.uint8), np.ones((2, 10, 10), np.uint8)
    >>> mask[0, :5] = 1
    >>> quantify(mask, lungs, 0.001).both
    Burden(lung_ml=0.2, infection_ml=0.05, infection_percent=25.0)
    """
    if infection.shape != lungs.shape:
        raise InputError(
            f"the mask is {infection.shape}, the lungs are {lungs.shape}; expected the same grid", code=3070
        )
    lung_voxels = _label_counts(lungs)
    infected_voxels = _label_counts(lungs * (infection > 0))
    burdens: dict[str, Burden | None] = {"both": None, "right": None, "left": None}
    reasons: dict[str, str] = {}
    regions = {"both": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,)}
    for name, labels in regions.items():
        lung, infected = (sum(int(c[label]) for label in labels) for c in (lung_voxels, infected_voxels))
        if voxel_volume_ml is None:
            reasons[name] = "no_voxel_size"
            continue
        if lung == 0:
            reasons[f"{name}.infection_percent"] = "no_lung"
        percent = 100 * infected / lung if lung else None
        burdens[name] = Burden(lung * voxel_volume_ml, infected * voxel_volume_ml, percent)
    infected_total = int(infected_voxels[1:].sum())
    marked = outside_voxels + infected_total
    if marked and outside_voxels > OUTSIDE_FLAG_FRACTION * marked:
        flags = (*flags, "infection_outside_lungs")
    return Quantification(
        both=burdens["both"],
        right=burdens["right"],
        left=burdens["left"],
        slices=len(lungs),
        slices_with_lung=_slices_with(lungs),
        slices_with_infection=_slices_with(infection),
        infection_outside_lungs_ml=None if voxel_volume_ml is None else outside_voxels * voxel_volume_ml,
        flags=flags,
        reasons=reasons,
    )


def _label_counts(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    counts = np.zeros(256, np.int64)
    for plane in labels:  # one slice at a time: bincount widens its input eightfold
        counts += np.bincount(plane.ravel(), minlength=256)
    return counts


def _slices_with(mask: npt.NDArray[np.uint8]) -> int:
    return sum(bool(plane.any()) for plane in mask)
