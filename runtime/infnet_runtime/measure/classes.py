"""How much of an infection is ground glass and how much consolidation, as a model tells them apart.

Both together are the infection, to the voxel. Where a number cannot be given it is ``None`` with a reason, as
in :mod:`~infnet_runtime.measure.burden`: of a region without infection there is no share.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.measure.burden import Burden, ClassBurden, Classes, Quantification
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

MODEL = "model"
"""What told the classes apart; another way, such as a limit in HU, would have a name of its own."""

_REGIONS = {"both": (RIGHT, LEFT, EITHER), "right": (RIGHT,), "left": (LEFT,)}


def with_classes(
    found: Quantification,
    classes: ByteArray,
    lungs: ByteArray,
    voxel_volume_ml: float | None,
    *,
    labels: Mapping[str, Mapping[str, str]],
) -> Quantification:
    """Add the classes to what was measured of their infection.

    Parameters
    ----------
    classes, lungs : (slices, rows, columns)
        1 ground glass, 2 consolidation; lungs as for :func:`~infnet_runtime.measure.burden.quantify`.
    voxel_volume_ml : ml
        None where the scan has no voxel size.
    labels
        Value to name and code, for the report.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if classes.shape != lungs.shape:
        raise InputError(
            f"the classes are {classes.shape}, the lungs are {lungs.shape}; expected the same grid", code=3070
        )
    counts = _counts(classes, lungs)
    burdens: dict[str, ClassBurden | None] = {"both": None, "right": None, "left": None}
    reasons: dict[str, str] = {}
    for name, sides in _REGIONS.items():
        infection: Burden | None = getattr(found, name)
        if infection is None:
            reasons[name] = found.reasons[name]
            continue
        voxels = [sum(counts[side, kind.value] for side in sides) for kind in (GROUND_GLASS, CONSOLIDATION)]
        burdens[name] = _burden(voxels[0], voxels[1], voxel_volume_ml)
        if voxel_volume_ml is None:
            reasons |= dict.fromkeys((f"{name}.ggo_ml", f"{name}.consolidation_ml"), "no_voxel_size")
        if not sum(voxels):
            shares = ("ggo_percent_of_infection", "consolidation_percent_of_infection")
            why = "no_infection" if infection.infection_percent is not None else "outside_the_picture"
            reasons |= dict.fromkeys((f"{name}.{share}" for share in shares), why)
    told = Classes(
        source=MODEL,
        labels={value: dict(label) for value, label in labels.items()},
        both=burdens["both"],
        right=burdens["right"],
        left=burdens["left"],
        reasons=reasons,
    )
    return replace(found, classes=told)


def _burden(ground_glass: int, consolidation: int, voxel_volume_ml: float | None) -> ClassBurden:
    infected = ground_glass + consolidation
    ml = [None if voxel_volume_ml is None else n * voxel_volume_ml for n in (ground_glass, consolidation)]
    shares = [100 * n / infected if infected else None for n in (ground_glass, consolidation)]
    return ClassBurden(ml[0], ml[1], shares[0], shares[1])


def _counts(classes: ByteArray, lungs: ByteArray) -> dict[tuple[int, int], int]:
    """Voxels by side and class, slice by slice: empty slices cost little."""
    counts = {
        (side, kind.value): 0 for side in (RIGHT, LEFT, EITHER) for kind in (GROUND_GLASS, CONSOLIDATION)
    }
    for told, lung in zip(classes, lungs, strict=True):
        if not told.max():
            continue
        for side, kind in counts:
            counts[side, kind] += int(np.count_nonzero((told == kind) & (lung == side)))
    return counts
