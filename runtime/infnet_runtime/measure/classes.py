"""How much of an infection is ground glass and how much consolidation, by a map of both.

Both together are the infection, to the voxel. Where a number cannot be given it is ``None`` with a reason, as
in :mod:`~infnet_runtime.measure.burden`: of a region without infection there is no share.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.measure.region import kinds_of
from infnet_runtime.measure.result import Burden, ClassBurden, Classes, Quantification
from infnet_runtime.measure.tally import SIDES
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

MODEL, GIVEN = "model", "given_mask"
"""What told the classes apart: the network, or who made a mask that was given."""


def with_classes(
    found: Quantification,
    classes: ByteArray,
    lungs: ByteArray,
    voxel_volume_ml: float | None,
    *,
    labels: Mapping[str, Mapping[str, str]],
    source: str = MODEL,
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
    source
        What told them apart.

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
    for name, sides in SIDES.items():
        infection: Burden | None = getattr(found, name)
        if infection is None:
            reasons[name] = found.reasons[name]
            continue
        voxels = [sum(counts[side, kind.value] for side in sides) for kind in (GROUND_GLASS, CONSOLIDATION)]
        why = "no_infection" if infection.infection_percent is not None else "outside_the_picture"
        burdens[name], missing = kinds_of(name, voxels[0], voxels[1], voxel_volume_ml, why)
        reasons |= missing
    told = Classes(
        source=source,
        labels={value: dict(label) for value, label in labels.items()},
        both=burdens["both"],
        right=burdens["right"],
        left=burdens["left"],
        reasons=reasons,
    )
    return replace(found, classes=told)


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
