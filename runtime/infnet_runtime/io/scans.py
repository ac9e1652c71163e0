"""The one place where formats differ: which reader takes a file, and what every reader gives.

A reader for another format is one module with a class that satisfies ``Scan``, and one line in ``open_scan``.
"""

from pathlib import Path
from typing import Protocol

from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InputError
from infnet_runtime.io.images import read_image
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.scan.ct import CtVolume, Intensity

# Voxels of one scan in memory. A chest of 1024 x 1024 x 1000 takes 2 GiB.
DEFAULT_MAX_BYTES = 4 * 2**30

_NIFTI_SUFFIXES = (".nii.gz", ".nii")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_ADVICE = "Convert the series to NIfTI with dcm2niix and give that file"


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


def open_scan(
    path: Path,
    *,
    intensity: Intensity | None = None,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
    assume_orientation: str | None = None,
) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz``, ``.png``, ``.jpg`` or ``.jpeg`` file.
    intensity
        What the values mean; decided from the values where absent.
    max_bytes
        The most bytes of voxels a file may announce; absent means no limit.
    assume_orientation
        Where the stored axes point to, such as ``LAS``, for NIfTI files that do not say.

    Raises
    ------
    InputError
        If there is no such file, its format is not read, or its content is refused.
    """
    name = path.name.lower()
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; DICOM is not supported yet. {_ADVICE}", code=3002)
        if not path.exists():
            raise InputError(f"there is no file {path}; check the spelling", code=3001)
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; give a file on disk", code=3003)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", code=3005) from error
    if name.endswith(_DICOM_SUFFIXES) or (not path.suffix and _is_dicom(path)):
        raise InputError(f"{path} is a DICOM file; DICOM is not supported yet. {_ADVICE}", code=3002)
    if not name.endswith(_NIFTI_SUFFIXES + _IMAGE_SUFFIXES):
        known = ", ".join(_NIFTI_SUFFIXES + _IMAGE_SUFFIXES)
        raise InputError(f"{path} has none of the endings {known}; other formats are not read", code=3003)
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or convert it again", code=3004)
    if name.endswith(_NIFTI_SUFFIXES):
        return read_nifti(
            path, intensity=intensity, max_bytes=max_bytes, assume_orientation=assume_orientation
        )
    return read_image(path, intensity=intensity)


def stem(path: Path) -> str:
    """Name of a file without its ending, both parts of ``.nii.gz`` included.

    Examples
    --------
    >>> stem(Path("folder/scan.v2.nii.gz"))
    'scan.v2'
    """
    for suffix in _NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:  # what cannot be read is refused for its name
        return False
