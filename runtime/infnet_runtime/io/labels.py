"""Lung masks that the user supplies."""

from pathlib import Path

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.nifti import read_stored
from infnet_runtime.scan.ct import CtVolume, Intensity

# Programs that write the same grid differ by float32 rounding of the affine; a voxel apart is another grid.
_SAME_PLACE_MM = 0.1


def read_lungs(path: Path, scan: CtVolume) -> AnyArray:
    """Read a lung mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    path
        NIfTI file with labels 1 (right) and 2 (left), with lungmask's lobes 1 to 5, or with one label.
    scan
        The scan it belongs to.

    Returns
    -------
    (i, j, k) on the scan's grid, 1 the patient's right lung and 2 the left

    Raises
    ------
    InputError
        If the file or its labels are refused.
    GeometryError
        If it lies on another grid.
    """
    from infnet_runtime.lungs import side_labels  # brings OpenCV, which reading a scan does not need

    if not path.is_file():
        raise InputError(f"there is no lung mask {path}; check the spelling", code=3001)
    _, geometry, stored = read_stored(path)
    if stored.dtype.kind == "f":
        if not np.array_equal(stored, np.rint(stored)):
            raise InputError(f"{path.name} has values between the labels; give a label map", code=3061)
    elif stored.min() < 0 or stored.max() > 255:
        raise InputError(
            f"{path.name} has values {stored.min()}..{stored.max()}, expected labels; give a lung mask",
            code=3061,
        )
    mask = CtVolume(stored.astype(np.uint8), geometry.affine, Intensity.WINDOWED, path.name)
    labels, voxels = mask.to_lps(), scan.to_lps()
    apart_mm = _distance_mm(mask, scan)
    if labels.shape != voxels.shape or apart_mm > _SAME_PLACE_MM:
        raise GeometryError(
            f"the lung mask {path.name} is {labels.shape} (slices, rows, columns), the scan {voxels.shape}, "
            f"and their corners are up to {apart_mm:.2f} mm apart; resample the mask to the scan",
            code=3062,
        )
    return scan.from_lps(side_labels(labels))


def _distance_mm(one: CtVolume, other: CtVolume) -> float:
    """Largest distance from a corner of one grid to the nearest corner of the other, in mm."""
    corners = []
    for volume in (one, other):
        ends = [(0, n - 1) for n in volume.voxels.shape]
        indices = np.array(np.meshgrid(*ends, [1.0], indexing="ij")).reshape(4, -1)
        corners.append((volume.affine @ indices)[:3])
    gaps = np.linalg.norm(corners[0][:, :, None] - corners[1][:, None, :], axis=0)
    return float(gaps.min(axis=1).max())
