"""Lung masks that the user supplies as files."""

from pathlib import Path

import numpy as np

from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.nifti import read_stored
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import LungMask, lung_mask

# Programs that write the same grid differ by float32 rounding of the affine; a voxel apart is another grid.
_SAME_PLACE_MM = 0.1


def read_lungs(path: Path, scan: CtVolume) -> LungMask:
    """Read a lung mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    path
        NIfTI file with labels 1 (right) and 2 (left), with lungmask's lobes 1 to 5, or with one label.
    scan
        The scan it belongs to.

    Returns
    -------
    On the scan's grid

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
    grid = Grid(stored.shape, geometry.affine)
    apart_mm = grid.corner_distance_mm(scan.grid)
    if grid.lps_shape != scan.grid.lps_shape or apart_mm > _SAME_PLACE_MM:
        raise GeometryError(
            f"the lung mask {path.name} is {grid.lps_shape} (slices, rows, columns), the scan "
            f"{scan.grid.lps_shape}, and their corners are up to {apart_mm:.2f} mm apart; resample the mask "
            "to the scan",
            code=3062,
        )
    labels = side_labels(grid.to_lps(stored.astype(np.uint8)))
    return lung_mask(scan.from_lps(labels), scan.grid, source=scan.source)
