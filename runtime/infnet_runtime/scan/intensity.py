"""What the values of a scan mean: Hounsfield units, windowed grey, or nothing that can be measured.

A wrong answer here is a plausible mask from a wrong input, so the rules refuse what they cannot tell.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError
from infnet_runtime.scan.ct import Intensity, refuse_non_finite, slabs

# Air is -1000 HU and lung -700 to -950; scanners pad with -1024, -2000, -2048 or -3024, which is no air.
AIR_HU = (-1200.0, -500.0)
# Fat, water, blood and muscle: in every slice of a chest.
TISSUE_HU = (-200.0, 300.0)
# A chest in a square field of view is about one third tissue. Values shifted down by 1024 twice leave only
# bone in this range, less than 1 %.
_LEAST_TISSUE_SHARE = 0.01
_HIGHEST_HU = 32767.0  # the most an extended 16-bit scale stores
# Grey pictures of the lung have dozens of levels even when noise-free; label maps have a handful.
_LEAST_GREY_LEVELS = 12


@dataclass(frozen=True)
class _Survey:
    """Extremes and shares of a volume, gathered slab by slab."""

    lowest: float
    highest: float
    integral: bool
    air: float
    tissue: float


def decide_intensity(voxels: AnyArray, *, source: str, forced: Intensity | None = None) -> Intensity:
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
    survey = _survey(voxels)
    found = f"{source} has values {survey.lowest:g}..{survey.highest:g}"
    if survey.lowest == survey.highest:
        raise InputError(
            f"all voxels of {source} have the value {survey.lowest:g}; there is no picture in it", code=3040
        )
    in_byte = survey.lowest >= 0 and survey.highest <= 255
    if forced is Intensity.WINDOWED and not in_byte:
        raise InputError(f"{found}, windowed grey lies within 0..255; read it with intensity hu", code=3034)
    if forced is Intensity.WINDOWED or (forced is None and in_byte and survey.integral):
        _refuse_labels(voxels, found, integral=survey.integral)
        return Intensity.WINDOWED
    _refuse_implausible_hu(survey, found, vouched=forced is Intensity.HU)
    return Intensity.HU


def _refuse_implausible_hu(survey: _Survey, found: str, *, vouched: bool) -> None:
    if survey.lowest >= 0:
        raise InputError(
            f"{found}, no negative value; HU of a chest has air near -1000. These may be stored values "
            "without their rescale intercept (often -1024): convert the scan again from its DICOM files "
            "with dcm2niix. A picture in the lung window must have whole values within 0..255",
            code=3041,
        )
    if survey.air == 0:
        raise InputError(
            f"{found}, but none between {AIR_HU[0]:g} and {AIR_HU[1]:g}; HU of a chest has air near -1000. "
            "The values are shifted, scaled or clipped, or no lung is in the scan: convert it again from "
            "its DICOM files",
            code=3041,
        )
    if survey.tissue == 0 or (survey.tissue < _LEAST_TISSUE_SHARE and not vouched):
        raise InputError(
            f"{found}, {survey.tissue:.2%} of them between {TISSUE_HU[0]:g} and {TISSUE_HU[1]:g}; a chest "
            "in HU has soft tissue there. The values are shifted or scaled: convert the scan again from "
            "its DICOM files"
            + ("" if survey.tissue == 0 else ", or read it with intensity hu if they are right"),
            code=3042,
        )
    if survey.highest > _HIGHEST_HU:
        raise InputError(
            f"{found}; HU stay below {_HIGHEST_HU:g}. Convert the scan again from its DICOM files", code=3042
        )


def _refuse_labels(voxels: AnyArray, found: str, *, integral: bool) -> None:
    if not integral:
        # Resampled grey, taken on the user's word; but a picture scaled to 0..1 is not windowed grey.
        if voxels.max() <= 1:
            raise InputError(f"{found}, expected grey levels 0..255; multiply the picture by 255", code=3043)
        return
    seen = np.zeros(256, np.bool_)
    for slab in slabs(voxels):
        seen[slab.astype(np.uint8)] = True
        if np.count_nonzero(seen) >= _LEAST_GREY_LEVELS:
            return
    raise InputError(
        f"{found}, {np.count_nonzero(seen)} different ones: this looks like a mask, not like a CT; give the "
        "CT itself",
        code=3043,
    )


def _survey(voxels: AnyArray) -> _Survey:
    lowest, highest = float(voxels.min()), float(voxels.max())
    integral = voxels.dtype.kind in "iu" or all(bool((slab == np.rint(slab)).all()) for slab in slabs(voxels))
    air = tissue = 0
    if lowest < 0:
        for slab in slabs(voxels):
            air += int(np.count_nonzero((slab >= AIR_HU[0]) & (slab <= AIR_HU[1])))
            tissue += int(np.count_nonzero((slab >= TISSUE_HU[0]) & (slab <= TISSUE_HU[1])))
    return _Survey(lowest, highest, integral, air / voxels.size, tissue / voxels.size)
