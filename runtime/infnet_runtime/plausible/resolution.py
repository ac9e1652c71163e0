"""Whether pixels and slices are as fine as the network knows them.

In coarser ones vessels and fissures blur into what looks like ground glass, and the network marks it. The
limits are measured by ``benchmarks/resolution.py``, see ``docs/figures/accuracy-against-pixel-size.svg``.
"""

import numpy as np

from infnet_runtime.errors import GeometryError
from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask

# Up to 2.0 mm the millilitres stay; at 2.5 mm of a little infection 1.6 times as much is marked, in a healthy
# chest three times.
_PIXEL_MM_FLAGGED = 2.1
# At 6 mm no scan keeps a Dice of 0.6.
_PIXEL_MM_REFUSED = 6.05
# The same for small patients and for pictures, whose lungs are as many pixels wide: 250 mm at 2.5 mm.
_LEAST_PIXELS = 100
# Averaged to 10 and 12 mm, slices give 1.9 and 2.8 times as much of a little infection; the network was
# trained on slices of 1 to 8 mm.
_SLICE_MM_FLAGGED = 8.5


def resolution_doubts(scan: CtVolume, lungs: LungMask, *, has_size: bool) -> tuple[Flag, ...]:
    """Flags on the size of the pixels and the distance of the slices.

    Parameters
    ----------
    has_size
        Whether the voxel size is meant; where it is not, pixels across the lungs are counted.

    Raises
    ------
    GeometryError
        If the network sees too little in such pixels.
    """
    slice_mm, row_mm, column_mm = scan.lps_spacing_mm
    pixel_mm = max(row_mm, column_mm)
    pixels = f"pixels of {column_mm:.3g} x {row_mm:.3g} mm"
    if has_size and pixel_mm > _PIXEL_MM_REFUSED:
        raise GeometryError(
            f"{scan.source} has {pixels}, expected {_PIXEL_MM_FLAGGED:g} mm or less: in pixels above "
            f"{_PIXEL_MM_REFUSED:.0f} mm lung cannot be told from infection. Give the scan as it was "
            "reconstructed",
            code=3102,
        )
    wide = _pixels_across(lungs)
    flags: tuple[Flag, ...] = ()
    if has_size and pixel_mm > _PIXEL_MM_FLAGGED:
        flags = (_coarse(pixels),)
    elif 0 < wide < _LEAST_PIXELS:
        flags = (_coarse(f"lungs that are {wide} pixels wide"),)
    if has_size and scan.grid.lps_shape[0] > 1 and slice_mm > _SLICE_MM_FLAGGED:
        flags += (
            Flag(
                "slices_far_apart",
                f"the slices are {slice_mm:.3g} mm apart. Slices as thick as that blur vessels into ground "
                "glass, and too much is marked; of thin ones with gaps, what lies between is not seen. Give "
                "the scan as it was reconstructed",
            ),
        )
    return flags


def _coarse(found: str) -> Flag:
    return Flag(
        "pixels_too_coarse",
        f"{found}: above {_PIXEL_MM_FLAGGED:g} mm in an adult the network takes vessels for infection, up to "
        "ten times too much; a small infected volume means nothing. Give the scan as it was reconstructed",
    )


def _pixels_across(lungs: LungMask) -> int:
    """Columns or rows, whichever are more, that hold lung; 0 without a lung."""
    seen = np.zeros(lungs.grid.lps_shape[1:], np.bool_)
    for plane in lungs.to_lps():
        seen |= plane != 0
    used = [np.flatnonzero(seen.any(axis=axis)) for axis in (0, 1)]
    return max(int(n[-1] - n[0]) + 1 if len(n) else 0 for n in used)
