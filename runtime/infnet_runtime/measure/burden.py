"""How much infection, how dense and where: in all, by side, and by lobe where they are known.

A voxel counts as infection where the mask says so inside the lungs; its volume is the determinant of the
affine, never the header's spacing. Where a number cannot be given it is ``None`` with a reason: a side
without lung has no 0 ml of infection, for what is dense as a whole was not looked at. Then ``both`` is the
lung that is there, a lower bound, and a flag says so (``lung_missing``). Only where the picture ends before
the other lung could lie in it (``field_of_view``), that side has 0 ml of lung, and a flag as well.
"""

from collections.abc import Mapping

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.measure.field_of_view import has_room_for
from infnet_runtime.measure.flags import Flag
from infnet_runtime.measure.flip import Flip
from infnet_runtime.measure.region import Ruler, numbers_of, outside_the_picture, split_by_hu
from infnet_runtime.measure.remarks import remarks
from infnet_runtime.measure.result import (
    Burden,
    ClassBurden,
    HuClasses,
    HuHistogram,
    Quantification,
    Uncertainty,
    Zone,
)
from infnet_runtime.measure.scores import scores_of, zones_of
from infnet_runtime.measure.tally import LOBES, LOWEST_HU, SIDES, Counts, Tally, tally
from infnet_runtime.model.false_marks import FalseMarks
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.scan.sides import EITHER

_HISTOGRAM_HU = (-1050, 250, 25)  # from, to, step


def quantify(
    infection: ByteArray,
    lungs: ByteArray,
    voxel_volume_ml: float | None,
    *,
    hu: Voxels | None = None,
    lobes: ByteArray | None = None,
    slice_mm: float | None = None,
    outside_voxels: int = 0,
    flat_voxels: int | None = None,
    infection_ml_band: Mapping[str, float] | None = None,
    flip: Flip | None = None,
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
    hu : (slices, rows, columns)
        Values of the scan, read slice by slice; absent where they are no HU.
    lobes : (slices, rows, columns)
        Numbers of :data:`~infnet_runtime.measure.tally.LOBES`, 0 elsewhere.
    slice_mm : mm
        ``grid.slice_mm`` of the scan.
    outside_voxels
        Voxels that the network marked outside the lungs.
    flat_voxels
        Voxels of flat marks that were left out of the mask; absent where none were looked for.
    infection_ml_band
        Threshold to volume, where probabilities are at hand.
    flip
        Agreement with the mirror image, where that was looked at.
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
    >>> import numpy as np
    >>> mask, lungs = np.zeros((2, 10, 10), np.uint8), np.ones((2, 10, 10), np.uint8)
    >>> mask[0, :5] = 1
    >>> both = quantify(mask, lungs, 0.001).both
    >>> both.lung_ml, both.infection_ml, both.infection_percent
    (0.2, 0.05, 25.0)
    """
    for name, array in (("lungs", lungs), ("HU", hu), ("lobes", lobes)):
        if array is not None and array.shape != infection.shape:
            raise InputError(
                f"the mask is {infection.shape}, the {name} are {array.shape}; expected the same grid",
                code=3070,
            )
    counted = tally(infection, lungs, hu=hu, lobes=lobes)
    ruler = Ruler(voxel_volume_ml, None if voxel_volume_ml is None else slice_mm)
    sides, reasons = _sides(counted, lungs, ruler)
    by_lobe, why = _lobes(counted, ruler) if lobes is not None else (None, {"lobes": "lobe_mask_missing"})
    reasons |= why
    zones, no_zones = _zones(counted, sides, reasons)
    scores, why = scores_of(by_lobe, zones, no_zones)
    reasons |= why
    by_hu, histogram, why = _by_hu(counted, sides, ruler, reasons)
    reasons |= why
    if zones is None:
        reasons["zones"] = no_zones
    outside_ml: float | None = None
    flat_ml: float | None = None
    if voxel_volume_ml is not None and counted.slices_with_lung:
        outside_ml = outside_voxels * voxel_volume_ml
        if flat_voxels is None:
            reasons["flat_marks_ml"] = "flat_marks_kept"
        else:
            flat_ml = flat_voxels * voxel_volume_ml
    else:
        why_none = "no_lung" if voxel_volume_ml else "no_voxel_size"
        reasons |= dict.fromkeys(("infection_outside_lungs_ml", "flat_marks_ml"), why_none)
    found = remarks(
        counted,
        sides,
        voxel_ml=voxel_volume_ml,
        outside_voxels=outside_voxels,
        level=false_marks,
        known=flags,
        has_lobes=lobes is not None,
    )
    flags = (*flags, *found)
    return Quantification(
        both=sides["both"],
        right=sides["right"],
        left=sides["left"],
        slices=len(lungs),
        slices_with_lung=counted.slices_with_lung,
        slices_with_infection=counted.marked_slices,
        infection_outside_lungs_ml=outside_ml,
        flat_marks_ml=flat_ml,
        flags=tuple(flag.name for flag in flags),
        flag_texts={flag.name: flag.text for flag in flags},
        warnings=tuple(flag.name for flag in flags if flag.warns),
        reasons=reasons,
        lobes=by_lobe,
        scores=scores,
        zones=zones,
        hu_classes=by_hu,
        hu_histogram=histogram,
        uncertainty=_uncertainty(infection_ml_band, flip, voxel_volume_ml, reasons.get("both")),
    )


def _sides(counted: Tally, lungs: ByteArray, ruler: Ruler) -> tuple[dict[str, Burden | None], dict[str, str]]:
    """Numbers of both lungs and of each, and why some are missing."""
    found: dict[str, Burden | None] = {}
    reasons: dict[str, str] = {}
    for name, labels in SIDES.items():
        part = counted.region(name)
        why: dict[str, str] = {}
        found[name] = None
        if name != "both" and counted.has_side(EITHER):
            reasons[name] = "side_unknown"
        elif part.lung:
            found[name], why = numbers_of(name, part, ruler)
        elif name == "both" or ruler.voxel_ml is None or not _is_outside(labels[0], lungs):
            reasons[name] = "no_lung"
        else:
            found[name], why = outside_the_picture(name, ruler)
        reasons |= why
    return found, reasons


def _is_outside(side: int, lungs: ByteArray) -> bool:
    """Whether the picture ends before the lung of this side."""
    return bool(lungs.any()) and not has_room_for(side, lungs)


def _lobes(counted: Tally, ruler: Ruler) -> tuple[dict[str, Burden | None], dict[str, str]]:
    """Numbers of each lobe, and why some are missing."""
    found: dict[str, Burden | None] = {}
    reasons: dict[str, str] = {}
    for name in LOBES:
        part = counted.region(name)
        if part.lung:
            found[name], why = numbers_of(f"lobes.{name}", part, ruler)
            reasons |= why
        else:
            found[name] = None
            reasons[f"lobes.{name}"] = "lobe_missing"
    return found, reasons


def _zones(
    counted: Tally, sides: Mapping[str, Burden | None], known: Mapping[str, str]
) -> tuple[dict[str, Zone] | None, str]:
    """Thirds of both lungs, or why there are none."""
    for name in ("both", "right", "left"):
        if sides[name] is None:
            return None, known[name]
        if f"{name}.infection_percent" in known:
            return None, known[f"{name}.infection_percent"]
    zones = zones_of({name: counted.region(name) for name in ("right", "left")})
    return zones, "too_few_slices"


def _uncertainty(
    band: Mapping[str, float] | None, flip: Flip | None, voxel_ml: float | None, no_lung: str | None
) -> Uncertainty:
    known = None if no_lung else flip
    kept = None if no_lung or voxel_ml is None else band
    reasons = {}
    if kept is None:
        reasons["infection_ml_band"] = no_lung or (
            "no_voxel_size" if voxel_ml is None else "probability_not_kept"
        )
    if known is None:
        reasons["flip_disagreement"] = no_lung or "flip_not_run"
    if known is None or voxel_ml is None:
        reasons["flipped_infection_ml"] = no_lung or ("flip_not_run" if known is None else "no_voxel_size")
    return Uncertainty(
        infection_ml_band=None if kept is None else dict(kept),
        flip_disagreement=None if known is None else known.disagreement,
        flipped_infection_ml=None if known is None or voxel_ml is None else known.infection_voxels * voxel_ml,
        reasons=reasons,
    )


def _by_hu(
    counted: Tally, sides: Mapping[str, Burden | None], ruler: Ruler, known: Mapping[str, str]
) -> tuple[HuClasses | None, HuHistogram | None, dict[str, str]]:
    """What follows from HU alone, and why it is missing."""
    both = counted.region("both")
    if both.lung_hu is None or both.infected_hu is None or sides["both"] is None:
        why = "no_hu" if both.lung_hu is None else known["both"]
        return None, None, {"hu_classes": why, "hu_histogram": why}
    kinds: dict[str, ClassBurden | None] = {}
    reasons: dict[str, str] = {}
    for name in SIDES:
        kinds[name] = None
        if sides[name] is None:
            reasons[name] = known[name]
            continue
        empty = known.get(f"{name}.infection_percent", "no_infection")
        kinds[name], missing = split_by_hu(name, counted.region(name), ruler, empty)
        reasons |= missing
    split = HuClasses(kinds["both"], kinds["right"], kinds["left"], reasons)
    start, _, step = _HISTOGRAM_HU
    histogram = HuHistogram(start, step, _binned(both.lung_hu), _binned(both.infected_hu))
    return split, histogram, {}


def _binned(counts: Counts) -> tuple[int, ...]:
    """Voxels in bins of some HU, with those beyond the ends in the bins at the ends."""
    start, stop, step = _HISTOGRAM_HU
    inside = counts[start - LOWEST_HU : stop - LOWEST_HU].reshape(-1, step).sum(axis=1)
    inside[0] += counts[: start - LOWEST_HU].sum()
    inside[-1] += counts[stop - LOWEST_HU :].sum()
    return tuple(inside.tolist())
