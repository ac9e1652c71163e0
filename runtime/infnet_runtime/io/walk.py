"""The files of a folder and of those below it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk_files(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """All that is no folder, by name, folder by folder.

    Names that begin with a full stop are left out: macOS lays ``._scan.nii.gz`` beside ``scan.nii.gz``.
    Links to folders are followed, each folder is entered once.

    Parameters
    ----------
    onerror
        Called where a folder cannot be looked into.
    """
    entered: set[tuple[int, int]] = set()
    for place, below, names in os.walk(folder, onerror=onerror, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in entered:
            below.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))
