"""The lung finder from end to end, and what follows from where the lungs are."""

from functools import partial

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import ByteArray, zeros_in
from infnet_runtime.cancel import go_on
from infnet_runtime.errors import InputError
from infnet_runtime.lungs.air import lung_air
from infnet_runtime.lungs.body import body_width_mm
from infnet_runtime.lungs.closing import close_lungs
from infnet_runtime.lungs.lone import side_of_lone_lung
from infnet_runtime.lungs.reduced import Reduced, enlarge, reduce_scan
from infnet_runtime.lungs.split import split_sides
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.rescaled import Voxels
from infnet_runtime.scan.sides import EITHER, RIGHT

# Spongy bone begins here, contrast-filled vessels too: those inside a lung are filled all the same.
_BONE_HU = 250.0
# Narrower bodies are looked at in their proportion. Adults have 305 mm and more in the scans at hand, and a
# phantom of 170 mm is still measured as one of 350.
_SMALL_BODY_MM = 220.0


def find_lungs(
    voxels: Voxels,
    spacing_mm: tuple[float, float, float],
    intensity: Intensity,
    *,
    reduced: Reduced | None = None,
    out: ByteArray | None = None,
) -> ByteArray:
    """Label the right and the left lung.

    Parameters
    ----------
    voxels : (slice, row, column), HU or 8-bit grey
        Slices foot to head, rows front to back, columns from the patient's right to left.
    spacing_mm : mm
        Distance of slices, rows and columns; nominal for pictures.
    intensity
        Whether ``voxels`` are HU or windowed grey.
    reduced
        Gives what ``reduce_scan`` makes of the scan, where most of it was done before.
    out : (slice, row, column)
        Where the labels are written; an array of their own where absent.

    Returns
    -------
    (slice, row, column)
        0 background, 1 the patient's right lung, 2 the left; 3 instead where only one lung is found and
        nothing tells its side. All 0 where no lung is found.

    Raises
    ------
    InputError
        If ``voxels`` does not have three axes.
    """
    if voxels.ndim != 3:
        raise InputError(
            f"expected voxels with 3 axes (slice, row, column), found shape {voxels.shape}; "
            "give one picture as one slice",
            code=3060,
        )
    if voxels.size == 0:
        return zeros_in(out, voxels.shape)
    scan = reduce_scan(voxels, spacing_mm, intensity) if reduced is None else reduced()
    if scan is None:
        return zeros_in(out, voxels.shape)
    if intensity is Intensity.HU or len(voxels) > 1:  # the size of a picture is nominal
        width_mm = body_width_mm(scan)
        if width_mm is not None and width_mm < _SMALL_BODY_MM:
            # A child as large as an adult: then all sizes by which lungs are known hold.
            larger = _SMALL_BODY_MM / width_mm
            grown = tuple(mm * larger for mm in spacing_mm)
            scan = reduce_scan(voxels, (grown[0], grown[1], grown[2]), intensity, largest_field_mm=np.inf)
            if scan is None:
                return zeros_in(out, voxels.shape)
    air = lung_air(scan)
    go_on()
    sides = split_sides(air, lone_side=partial(side_of_lone_lung, scan))
    side_unknown = bool((sides == EITHER).any())
    if side_unknown:
        np.minimum(sides, RIGHT, out=sides)
    bone = np.zeros(sides.shape, np.bool_)
    if intensity is Intensity.HU:
        bone = scan.values > _BONE_HU
    closed = close_lungs(sides, bone, scan.pixel_cm2, scan.pixels)
    found = enlarge(closed, voxels.shape, scan.step, out=out)
    if side_unknown:
        found *= np.uint8(EITHER)
    return found


def lung_box(
    lungs: npt.NDArray[np.generic], spacing_mm: tuple[float, float, float], margin_mm: float
) -> tuple[slice, slice]:
    """Rows and columns that hold the lungs of the whole volume, with a margin; all of them without a lung.

    Parameters
    ----------
    lungs : (slice, row, column)
        Labels or a mask; everything but 0 is lung.
    spacing_mm : mm
        Distance of slices, rows and columns.
    margin_mm : mm
        Added on each side, within the image.

    Examples
    --------
    >>> lungs = np.zeros((2, 50, 60), np.uint8)
    >>> lungs[1, 20:30, 5:50] = 1
    >>> lung_box(lungs, (5.0, 1.0, 2.0), 8.0)
    (slice(12, 38, None), slice(1, 54, None))
    """
    seen = np.zeros(lungs.shape[1:], np.bool_)
    for plane in lungs:
        seen |= plane != 0
    if not seen.any():
        return slice(0, lungs.shape[1]), slice(0, lungs.shape[2])

    def extent(axis: int) -> slice:
        hit = np.flatnonzero(seen.any(axis=1 - axis))
        margin = int(np.ceil(margin_mm / spacing_mm[axis + 1]))
        return slice(max(0, int(hit[0]) - margin), min(seen.shape[axis], int(hit[-1]) + 1 + margin))

    return extent(0), extent(1)


def slices_with_lung(lungs: npt.NDArray[np.generic]) -> npt.NDArray[np.intp]:
    """Indices of the slices that hold lung.

    Examples
    --------
    >>> slices_with_lung(np.array([[[0]], [[2]], [[1]]]))
    array([1, 2])
    """
    return np.flatnonzero([bool(plane.any()) for plane in lungs])
