"""How much infection: millilitres and share of the lung, in all and by side.

A voxel counts as infection where the mask says so inside the lungs; its volume is the determinant of the
affine, never the header's spacing. Where a number cannot be given it is ``None`` with a reason: a side
without lung has no 0 ml of infection, for what is dense as a whole was not looked at. Then ``both`` is the
lung that is there, a lower bound, and a flag says so (``lung_missing``). Only where the picture ends before
the other lung could lie in it (``field_of_view``), that side has 0 ml of lung, and a flag as well.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.measure.field_of_view import has_room_for
from infnet_runtime.measure.flags import OUTSIDE_LUNGS, Flag
from infnet_runtime.model.false_marks import FalseMarks
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

_SIDES = (RIGHT, LEFT, EITHER)
OUTSIDE_FLAG_FRACTION = 0.02  # above this share, consolidation was probably left out of the lungs


@dataclass(frozen=True)
class Burden:
    """Infection of one region.

    Parameters
    ----------
    lung_ml, infection_ml : ml
        None where the scan has no voxel size.
    infection_percent : % of the lung
        None where none of that lung is in the picture.
    """

    lung_ml: float | None
    infection_ml: float | None
    infection_percent: float | None


@dataclass(frozen=True)
class ClassBurden:
    """Kinds of the infection of one region.

    Parameters
    ----------
    ggo_ml, consolidation_ml : ml
        Ground glass and consolidation. None where the scan has no voxel size.
    ggo_percent_of_infection, consolidation_percent_of_infection : % of the infection of this region
        None where there is none.
    """

    ggo_ml: float | None
    consolidation_ml: float | None
    ggo_percent_of_infection: float | None
    consolidation_percent_of_infection: float | None


@dataclass(frozen=True)
class Classes:
    """Kinds of the infection of one scan.

    Parameters
    ----------
    source
        What told them apart: ``model``.
    labels
        Value in the class map to name and code.
    both, right, left
        As in :class:`Quantification`.
    reasons
        Name of a missing number to why it is missing, as in :class:`Quantification`; ``no_infection`` where
        there is no share because there is no infection.
    """

    source: str
    labels: dict[str, dict[str, str]]
    both: ClassBurden | None
    right: ClassBurden | None
    left: ClassBurden | None
    reasons: dict[str, str]


@dataclass(frozen=True)
class Quantification:
    """Infection of one scan.

    Parameters
    ----------
    both, right, left
        Whole lungs, and the patient's right and left lung. None where no lung is, and the sides where they
        cannot be told apart.
    slices, slices_with_lung, slices_with_infection
        Counts of axial slices.
    infection_outside_lungs_ml : ml
        What the network marked outside the lungs; not part of the mask. None without lung: the network
        does not run then.
    flags
        Names of what a reader must know before trusting a number; see :mod:`~infnet_runtime.measure.flags`.
    flag_texts
        Name of a flag to its sentence.
    warnings
        Names of the flags that say that the numbers may be wrong; the others are remarks.
    reasons
        Name of a missing number, such as ``left`` or ``both.lung_ml``, to why it is missing:
        ``no_voxel_size``, ``no_lung``, ``side_unknown`` or ``outside_the_picture``.
    classes
        Ground glass and consolidation; None, and left out of JSON, where they were not asked for.
    """

    both: Burden | None
    right: Burden | None
    left: Burden | None
    slices: int
    slices_with_lung: int
    slices_with_infection: int
    infection_outside_lungs_ml: float | None
    flags: tuple[str, ...]
    flag_texts: dict[str, str]
    warnings: tuple[str, ...]
    reasons: dict[str, str]
    classes: Classes | None = None

    @property
    def has_size(self) -> bool:
        """Whether the voxel size of the scan means anything; without it there are shares and no ml."""
        return "no_voxel_size" not in self.reasons.values()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        if self.classes is None:
            del values["classes"]
        return values


def quantify(
    infection: ByteArray,
    lungs: ByteArray,
    voxel_volume_ml: float | None,
    *,
    outside_voxels: int = 0,
    false_marks: FalseMarks | None = None,
    flags: tuple[Flag, ...] = (),
) -> Quantification:
    """Measure a mask.

    Parameters
    ----------
    infection : (slices, rows, columns)
        Infection mask, 0 or 1, inside the lungs.
    lungs : (slices, rows, columns)
        1 is the patient's right lung, 2 the left, 3 a lung of unknown side.
    voxel_volume_ml : ml
        ``grid.voxel_ml`` of the scan: None where it has no voxel size, as a picture.
    outside_voxels
        Voxels that the network marked outside the lungs.
    false_marks
        Level of the model, below which a result may be nothing.
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
    counts = _voxel_counts(infection, lungs)
    burdens: dict[str, Burden | None] = {"both": None, "right": None, "left": None}
    reasons: dict[str, str] = {}
    regions = {"both": (RIGHT, LEFT, EITHER), "right": (RIGHT,), "left": (LEFT,)}
    for name, labels in regions.items():
        lung, infected = (sum(c[label] for label in labels) for c in (counts.lung, counts.infected))
        if name != "both" and counts.lung[EITHER]:
            reasons[name] = "side_unknown"
        elif lung == 0 and (name == "both" or voxel_volume_ml is None or not _is_outside(labels[0], lungs)):
            reasons[name] = "no_lung"
        elif lung == 0:
            burdens[name] = Burden(0.0, 0.0, None)
            reasons[f"{name}.infection_percent"] = "outside_the_picture"
        else:
            percent = 100 * infected / lung
            if voxel_volume_ml is None:
                burdens[name] = Burden(None, None, percent)
                reasons |= {f"{name}.{number}": "no_voxel_size" for number in ("lung_ml", "infection_ml")}
            else:
                burdens[name] = Burden(lung * voxel_volume_ml, infected * voxel_volume_ml, percent)
    outside_ml: float | None = None
    if voxel_volume_ml is not None and counts.slices_with_lung:
        outside_ml = outside_voxels * voxel_volume_ml
    else:
        reasons["infection_outside_lungs_ml"] = "no_lung" if voxel_volume_ml else "no_voxel_size"
    marked = outside_voxels + counts.infected_total
    if marked and outside_voxels > OUTSIDE_FLAG_FRACTION * marked:
        flags = (*flags, OUTSIDE_LUNGS)
    if burdens["both"] and false_marks:
        flags = (*flags, *_below_level(burdens["both"], false_marks))
    return Quantification(
        both=burdens["both"],
        right=burdens["right"],
        left=burdens["left"],
        slices=len(lungs),
        slices_with_lung=counts.slices_with_lung,
        slices_with_infection=counts.slices_with_infection,
        infection_outside_lungs_ml=outside_ml,
        flags=tuple(flag.name for flag in flags),
        flag_texts={flag.name: flag.text for flag in flags},
        warnings=tuple(flag.name for flag in flags if flag.warns),
        reasons=reasons,
    )


def _is_outside(side: int, lungs: ByteArray) -> bool:
    """Whether the picture ends before the lung of this side."""
    return bool(lungs.any()) and not has_room_for(side, lungs)


def _below_level(found: Burden, level: FalseMarks) -> tuple[Flag, ...]:
    """The share decides: large lungs have more false marks, and pieces of lungs fewer.

    It was measured in scans, so nothing is said of a picture.
    """
    if found.infection_ml is None or found.infection_percent is None:
        return ()
    if not 0 < found.infection_percent <= level.percent:
        return ()
    return (
        Flag(
            "below_model_level",
            f"{found.infection_percent:.1f} % of the lungs ({found.infection_ml:.1f} ml) is no more than "
            f"this model marks in scans without infection (up to {level.percent:.1f} % and {level.ml:.0f} ml "
            f"in {level.scans} of them): it may be nothing; look at the mask",
        ),
    )


@dataclass
class _VoxelCounts:
    """Voxels by side, label to count, and slices."""

    lung: dict[int, int]
    infected: dict[int, int]
    infected_total: int = 0  # inside the lungs, whatever their label
    slices_with_lung: int = 0
    slices_with_infection: int = 0


def _voxel_counts(infection: ByteArray, lungs: ByteArray) -> _VoxelCounts:
    """Go through a mask once, slice by slice: no array as large as the scan, and empty slices cost little."""
    counts = _VoxelCounts(dict.fromkeys(_SIDES, 0), dict.fromkeys(_SIDES, 0))
    for marked, lung in zip(infection, lungs, strict=True):
        has_infection, highest = bool(marked.max()), int(lung.max())
        counts.slices_with_infection += has_infection
        counts.slices_with_lung += highest > 0
        if not highest:
            continue
        infected = marked > 0
        if has_infection and highest > max(_SIDES):
            counts.infected_total += int(np.count_nonzero(infected & (lung > max(_SIDES))))
        for label in _SIDES:
            if label > highest:
                continue
            side = lung == label
            counts.lung[label] += int(np.count_nonzero(side))
            if has_infection:
                side &= infected
                number = int(np.count_nonzero(side))
                counts.infected[label] += number
                counts.infected_total += number
    return counts
