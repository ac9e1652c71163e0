"""The scans in a folder and all folders below it."""

from dataclasses import dataclass, field
from pathlib import Path

from infnet_runtime.errors import InputError
from infnet_runtime.io.formats import format_by_name
from infnet_runtime.io.walk import walk_files


@dataclass(frozen=True)
class FolderContent:
    """What lies in a folder.

    Parameters
    ----------
    scans
        Files with the ending of a scan, sorted; links among them, also those that lead nowhere.
    unreadable
        Why a folder below could not be looked into, by that folder.
    """

    scans: list[Path] = field(default_factory=list)
    unreadable: dict[Path, InputError] = field(default_factory=dict)


def look_into(folder: Path) -> FolderContent:
    """Find the scans of a folder, and of those below it.

    Names that begin with a full stop are left out: macOS lays ``._scan.nii.gz`` beside ``scan.nii.gz``.
    Links to folders are followed, each folder is entered once.
    """
    content = FolderContent()

    def keep(error: OSError) -> None:
        place = Path(error.filename or folder)
        content.unreadable[place] = InputError(
            f"cannot read the folder {place}: {error.strerror or error}; scans in it are not done", code=3005
        )

    content.scans.extend(filter(format_by_name, walk_files(folder, keep)))
    content.scans.sort()
    return content
