"""What a path is, before anything is read: a scan of a format, or why it is none.

A refusal names the cause that is at hand: a link whose content is not there is no wrong spelling, and a
folder of NIfTI files is no DICOM.
"""

import errno
import os
import stat
from enum import Enum
from pathlib import Path

from infnet_runtime.errors import InputError
from infnet_runtime.io.walk import walk_files

_NIFTI_SUFFIXES = (".nii.gz", ".nii")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
ARCHIVE_SUFFIX = ".zip"
SCAN_SUFFIXES = _NIFTI_SUFFIXES + _PICTURE_SUFFIXES

# What git-lfs and git-annex leave in place of a file whose content was not fetched.
POINTERS = (b"version https://git-lfs", b"/annex/objects/")

_LONGEST_POINTER = 1024
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class ScanFormat(Enum):
    """A format that is read."""

    NIFTI = "NIfTI"
    PICTURE = "picture"
    DICOM = "DICOM"

    @property
    def mask_suffix(self) -> str:
        """Ending of a mask in the geometry of the scan."""
        return ".png" if self is ScanFormat.PICTURE else ".nii.gz"


def format_by_name(path: Path) -> ScanFormat | None:
    """Format that the ending of a name stands for."""
    name = path.name.lower()
    if name.endswith(_NIFTI_SUFFIXES):
        return ScanFormat.NIFTI
    return ScanFormat.PICTURE if name.endswith(_PICTURE_SUFFIXES) else None


def scan_format(path: Path) -> ScanFormat:
    """Format of a scan; only a file that may be one passes, or a folder with DICOM files in or below it.

    Raises
    ------
    InputError
        If there is no such file, it is of another kind, empty, or its format is not read.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a zero byte in a name is a ValueError
        raise _absent(path) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path} is a link that leads to itself; give the file", code=3025) from None
        raise InputError(f"cannot read {path}: {error.strerror or error}", code=3005) from error
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        if holds_dicom(path):
            return ScanFormat.DICOM
        raise _folder(path)
    if kind != stat.S_IFREG:
        raise InputError(
            f"{path} is {_KINDS.get(kind, 'not a regular file')}; give a file on disk", code=3003
        )
    if is_dicom(path) or is_archive(path):
        return ScanFormat.DICOM
    known = format_by_name(path)
    if known is None:
        raise InputError(
            f"{path} has none of the endings {', '.join(SCAN_SUFFIXES)}, and is no DICOM file; other formats "
            "are not read",
            code=3003,
        )
    if found.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or convert it again", code=3004)
    if found.st_size <= _LONGEST_POINTER and _begins_with(path, POINTERS):
        raise InputError(
            f"{path} is the {found.st_size} bytes that stand for a file of git-lfs or git-annex whose "
            "content was not fetched; fetch it (git lfs pull, git annex get)",
            code=3025,
        )
    return known


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its ending, or by its first bytes where the ending says nothing."""
    name = path.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        return True
    # Exports are often called IM0001 or 1.3.6.1.4.1.14519.5.
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(132)
            return start[128:] == b"DICM" or looks_like_dataset(start)
    except OSError:  # what cannot be read is refused for its name
        return False


def looks_like_dataset(start: bytes) -> bool:
    """Whether bytes may be DICOM without a preamble, as in old archives: group 0002 or 0008 comes first."""
    return len(start) > 8 and start[0] in (2, 8) and start[1] == 0 and start[3] == 0 and start[2] <= 0x18


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, by its ending."""
    return path.name.lower().endswith(ARCHIVE_SUFFIX)


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies in a folder or below it."""
    files = filter(os.path.isfile, walk_files(folder))
    return any(map(is_dicom, files))


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


def _absent(path: Path) -> InputError:
    """Why a name leads nowhere."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = os.fspath(place.readlink())
            return InputError(
                f"{place} is a link to {target}, which is not there; fetch its content (git annex get, "
                "datalad get, git lfs pull), or correct the link",
                code=3025,
            )
    missing = next((place for place in path.parents if place.is_dir()), path.parent)
    gone = next((place for place in (path, *path.parents) if place.parent == missing), path)
    where = "" if gone == path else f", as there is no folder {gone}"
    if gone != path and gone.exists():
        where = f", as {gone} is a file"
    return InputError(f"there is no file {path}{where}; check the spelling", code=3001)


def _folder(path: Path) -> InputError:
    """Why a folder is not one scan, by what lies in it."""
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        return InputError(f"{path} is a folder and cannot be read: {error.strerror or error}", code=3005)
    scans = [place.name for place in inside if format_by_name(place) and not place.name.startswith(".")]
    if scans:
        return InputError(
            f"{path} is a folder, expected one file; it holds {scans[0]}"
            + (f" and {len(scans) - 1} more" if len(scans) > 1 else "")
            + ": give that",
            code=3026,
        )
    return InputError(
        f"{path} is a folder, expected one file with an ending of {', '.join(SCAN_SUFFIXES)}, or a folder of "
        "DICOM files",
        code=3026,
    )


def _begins_with(path: Path, starts: tuple[bytes, ...]) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, starts))).startswith(starts)
    except OSError:  # the reader says why
        return False
