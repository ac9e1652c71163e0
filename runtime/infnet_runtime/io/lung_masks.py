"""Lung masks that the user supplies as files."""

from pathlib import Path

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.formats import ScanFormat, format_by_name
from infnet_runtime.io.nifti import read_labels
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.scan.lung_mask import LungMask


def read_lungs(path: Path, scan: CtVolume, named: LungLabels | None = None) -> LungMask:
    """Read a lung mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    path
        NIfTI file with labels 1 (right) and 2 (left), with lobes as lungmask or TotalSegmentator number
        them, or with one label.
    scan
        The scan it belongs to.
    named
        Which label is which lung, for masks that are numbered in another way.

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
    from infnet_runtime.lungs import given_lungs  # brings OpenCV, which reading a scan does not need

    on_scan = labels_on_scan(path, scan, "lung mask", code=3062)
    return given_lungs(on_scan, scan.grid, named=named, name=path.name, source=scan.source)


def labels_on_scan(path: Path, scan: CtVolume, what: str, *, code: int) -> AnyArray:
    """Read the labels of a mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    what
        What messages call the mask.
    code
        Of the error where it lies on another grid.

    Returns
    -------
    (i, j, k), in the stored order of the scan

    Raises
    ------
    InputError
        If the file is refused.
    GeometryError
        If it lies on another grid.
    """
    expect_mask_file(path, what)
    geometry, labels = read_labels(path)
    grid = Grid(labels.shape, geometry.affine)
    if not grid.is_same_place(scan.grid):
        apart_mm = grid.corner_distance_mm(scan.grid)
        raise GeometryError(
            f"the {what} {path.name} is {grid.lps_shape} (slices, rows, columns), the scan "
            f"{scan.grid.lps_shape}, and their corners are up to {apart_mm:.2f} mm apart; resample the mask "
            "to the scan",
            code=code,
        )
    return scan.from_lps(grid.to_lps(labels))


def expect_mask_file(path: Path, what: str = "lung mask") -> None:
    """Refuse what is no file of a mask, before the scan is read.

    Parameters
    ----------
    what
        What messages call the mask.

    Raises
    ------
    InputError
        With what is there instead.
    """
    a = "an" if what[0] in "aeiou" else "a"
    expected = f"{a} {what} is one NIfTI file (.nii or .nii.gz) on the grid of the scan"
    if path.is_dir():
        raise InputError(f"the {what} {path} is a folder; {expected}, so give that file", code=3002)
    if not path.exists():
        raise InputError(f"there is no {what} {path}; check the spelling", code=3001)
    if format_by_name(path) is not ScanFormat.NIFTI or not path.is_file():
        raise InputError(
            f"the {what} {path} is no NIfTI file; {expected}: convert it, a DICOM segmentation too",
            code=3003,
        )
