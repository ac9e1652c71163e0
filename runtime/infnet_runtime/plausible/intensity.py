"""What the values of a scan mean: Hounsfield units, windowed grey, or nothing that can be measured.

A wrong answer here is a plausible mask from a wrong input, so the rules refuse what cannot be, and flag what
is doubtful. The user's word decides where the values cannot tell; it does not make up for a contradiction.
"""

import numpy as np

from infnet_runtime.errors import InputError
from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.grey import PICTURE_RULES, VOLUME_RULES, grey_facts
from infnet_runtime.plausible.hounsfield import HU_RULES, hu_facts
from infnet_runtime.plausible.rules import apply_rules
from infnet_runtime.scan.ct import CtVolume, Intensity, refuse_non_finite, slabs
from infnet_runtime.scan.rescaled import Voxels


def decide_intensity(voxels: Voxels, *, source: str, forced: Intensity | None = None) -> Intensity:
    """Meaning of the values of a scan.

    Whole numbers within 0..255 are windowed grey, everything else has to be HU with air and tissue.

    Parameters
    ----------
    voxels : (i, j, k)
        Values as the file gives them, scaling applied.
    source
        Name of the scan for messages.
    forced
        The user's word on it; values that contradict it are refused.

    Raises
    ------
    InputError
        If the values are neither, or not what ``forced`` says.
    """
    refuse_non_finite(voxels, source)
    lowest, highest = float(voxels.min()), float(voxels.max())
    found = _found(source, lowest, highest)
    in_byte = lowest >= 0 and highest <= 255
    if forced is Intensity.WINDOWED and not in_byte:
        raise InputError(f"{found}, windowed grey lies within 0..255; read it with intensity hu", code=3034)
    if forced is not None:
        meaning = forced
    else:
        meaning = Intensity.WINDOWED if in_byte and _whole(voxels) else Intensity.HU
    _check(voxels, meaning, source, (lowest, highest), vouched=forced is not None)
    return meaning


def doubtful_values(scan: CtVolume) -> tuple[Flag, ...]:
    """Flags of a scan whose meaning is stated, by its reader or by the program that made it.

    Raises
    ------
    InputError
        If the values cannot be what is stated.
    """
    ends = float(scan.voxels.min()), float(scan.voxels.max())
    return _check(scan.voxels, scan.intensity, scan.source, ends, vouched=True)


def _check(
    voxels: Voxels, meaning: Intensity, source: str, ends: tuple[float, float], *, vouched: bool
) -> tuple[Flag, ...]:
    lowest, highest = ends
    found = _found(source, lowest, highest)
    if lowest == highest:
        raise InputError(
            f"all voxels of {source} have the value {lowest:g}; there is no picture in it", code=3040
        )
    if meaning is Intensity.HU:
        return apply_rules(HU_RULES, hu_facts(voxels, ends), found, vouched=vouched)
    if highest <= 1 and voxels.dtype.kind == "f":
        raise InputError(f"{found}, expected grey levels 0..255; multiply the picture by 255", code=3043)
    rules = PICTURE_RULES if 1 in voxels.shape else VOLUME_RULES
    return apply_rules(rules, grey_facts(voxels), found, vouched=vouched)


def _found(source: str, lowest: float, highest: float) -> str:
    return f"{source} has values {lowest:g}..{highest:g}"


def _whole(voxels: Voxels) -> bool:
    return voxels.dtype.kind in "iu" or all(bool((slab == np.rint(slab)).all()) for slab in slabs(voxels))
