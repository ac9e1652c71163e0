"""Lobe masks that the user supplies: a file with labels, or TotalSegmentator's folder with a file a lobe."""

from pathlib import Path

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.io.lung_masks import expect_mask_file, labels_on_scan
from infnet_runtime.scan.ct import CtVolume

_FILES = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
"""Names that TotalSegmentator gives the files of single classes, in the order of lungmask's labels 1 to 5."""
_ENDINGS = (".nii.gz", ".nii")


def read_lobes(path: Path, scan: CtVolume) -> ByteArray:
    """Read a lobe mask that lies on the grid of a scan, stored in any orientation.

    Parameters
    ----------
    path
        NIfTI file with the labels that :func:`~infnet_runtime.lungs.lobes.given_lobes` knows, or a folder
        with TotalSegmentator's five files.

    Returns
    -------
    (i, j, k), in the stored order of the scan

    Raises
    ------
    InputError
        If a file, the folder or the labels are refused.
    GeometryError
        If it lies on another grid.
    """
    from infnet_runtime.lungs import given_lobes  # brings OpenCV, which reading a scan does not need

    expect_lobes(path)
    if not path.is_dir():
        labels = labels_on_scan(path, scan, "lobe mask", code=3335)
        return given_lobes(labels, scan.grid, name=path.name, source=scan.source)
    lobes = np.zeros(scan.voxels.shape, np.uint8)
    for number, file in enumerate(_files(path), 1):
        marked = labels_on_scan(file, scan, "lobe mask", code=3335) > 0
        both = int(np.count_nonzero(lobes[marked]))
        if both:
            raise InputError(
                f"{file} marks {both} voxels that belong to another lobe of {path} too; expected lobes that "
                "do not overlap: make them again in one run",
                code=3334,
            )
        lobes[marked] = number
    return given_lobes(lobes, scan.grid, name=path.name, source=scan.source)


def expect_lobes(path: Path) -> None:
    """Refuse what is no lobe mask, before the scan is read.

    Raises
    ------
    InputError
        With what is there instead.
    """
    if path.is_dir():
        _files(path)
    else:
        expect_mask_file(path, "lobe mask")


def _files(folder: Path) -> list[Path]:
    """The files of the five lobes."""
    found, missing = [], []
    for name in _FILES:
        there = [folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").is_file()]
        found += there[:1]
        missing += [] if there else [f"{name}{_ENDINGS[0]}"]
    if missing:
        raise InputError(
            f"the folder of lobes {folder} lacks {', '.join(missing)}; expected the five files of "
            "TotalSegmentator's classes (an empty one where a lobe was removed), or one NIfTI file with "
            "labels",
            code=3334,
        )
    return found
