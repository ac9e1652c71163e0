"""The scans in a folder and all folders below it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from infnet_runtime.errors import InputError
from infnet_runtime.io.formats import format_by_name


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
    entered: set[tuple[int, int]] = set()

    def keep(error: OSError) -> None:
        place = Path(error.filename or folder)
        content.unreadable[place] = InputError(
            f"cannot read the folder {place}: {error.strerror or error}; scans in it are not done", code=3005
        )

    for place, below, names in os.walk(folder, onerror=keep, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in entered:
            below.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith("."):
                continue
            if format_by_name(path):
                content.scans.append(path)
    content.scans.sort()
    return content
