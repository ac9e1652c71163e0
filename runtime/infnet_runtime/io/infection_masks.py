"""Infection masks that the user supplies, of whatever program or reader."""

from pathlib import Path

from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.lung_masks import labels_on_scan
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.infection_labels import infection_labels


def read_infection(path: Path, scan: CtVolume) -> ByteArray:
    """Read an infection mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    path
        NIfTI file: 0 and 1, or 0, 1 ground glass and 2 consolidation.

    Returns
    -------
    (i, j, k), in the stored order of the scan

    Raises
    ------
    InputError
        If the file or its labels are refused.
    GeometryError
        If it lies on another grid.
    """
    return infection_labels(labels_on_scan(path, scan, "infection mask", code=3330), path.name)
