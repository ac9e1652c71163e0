"""The one place where formats differ: which reader takes a file, and what every reader gives.

A reader for another format is one module with a class that satisfies ``Scan``, and one line in ``open_scan``.
"""

from pathlib import Path
from typing import Protocol

from infnet_runtime.arrays import AnyArray
from infnet_runtime.io.formats import ScanFormat, scan_format
from infnet_runtime.io.images import read_image
from infnet_runtime.io.mask_bytes import LabelNames
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.scan.ct import CtVolume, Intensity

# Voxels of one scan in memory. A chest of 1024 x 1024 x 1000 takes 2 GiB.
DEFAULT_MAX_BYTES = 4 * 2**30


class Scan(Protocol):
    """A CT that was read, and the way its mask is written."""

    @property
    def volume(self) -> CtVolume:
        """The voxels."""

    @property
    def mask_suffix(self) -> str:
        """Suffix of the mask file, such as ``.nii.gz``."""

    def write_mask(self, path: Path, mask: AnyArray) -> None:
        """Write a mask (i, j, k) in the geometry of the scan."""

    def write_classes(self, path: Path, classes: AnyArray, names: LabelNames) -> None:
        """Write a label map (i, j, k) in the geometry of the scan, with names and codes of its values."""

    def write_probability(self, path: Path, probability: AnyArray) -> None:
        """Write probabilities (i, j, k), float16, in the geometry of the scan."""


def open_scan(
    path: Path,
    *,
    intensity: Intensity | None = None,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
    assume_orientation: str | None = None,
    series: str | None = None,
    allow_gaps: bool = False,
) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz``, ``.png``, ``.jpg`` or ``.jpeg`` file; or DICOM: a folder, a zip archive or a
        file.
    intensity
        What the values mean; decided from the values where absent.
    max_bytes
        The most bytes of voxels a file may announce; absent means no limit.
    assume_orientation
        Where the stored axes point to, such as ``LAS``, for NIfTI files that do not say.
    series, allow_gaps
        Of DICOM, as for :func:`~infnet_runtime.io.dicom.read_dicom`.

    Raises
    ------
    InputError
        If there is no such file, its format is not read, or its content is refused.
    """
    found = scan_format(path)
    if found is ScanFormat.DICOM:
        from infnet_runtime.io.dicom import read_dicom

        return read_dicom(
            path, series=series, allow_gaps=allow_gaps, intensity=intensity, max_bytes=max_bytes
        )
    if found is ScanFormat.NIFTI:
        return read_nifti(
            path, intensity=intensity, max_bytes=max_bytes, assume_orientation=assume_orientation
        )
    return read_image(path, intensity=intensity)
