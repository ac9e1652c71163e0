"""Output files that are whole or not there.

The bytes go to a temporary file in the same folder, reach the disk, and take the final name in one step. A
process killed in between leaves the old output as it was, and at worst a hidden ``.infnet-*.part`` beside it.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infnet_runtime.errors import OutputError

# errno -> (code, remedy)
_REMEDIES = {
    errno.ENOENT: (8001, "create the folder first"),
    errno.EEXIST: (8001, "a part of the path is a file; choose another folder"),
    errno.ENOTDIR: (8001, "a part of the path is a file; choose another folder"),
    errno.EACCES: (8002, "choose a folder you may write to"),
    errno.EPERM: (8002, "choose a folder you may write to"),
    errno.ENOSPC: (8003, "free some space or choose another disk"),
    errno.EDQUOT: (8003, "free some space or choose another disk"),
    errno.EFBIG: (8003, "the file system or a limit allows no larger file; choose another disk"),
    errno.EROFS: (8004, "the disk is read-only; choose another folder"),
    errno.ENAMETOOLONG: (8006, "choose a shorter name"),
}


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is complete.

    Parameters
    ----------
    path
        Final name. A link is followed, as an ordinary ``open`` would.

    Yields
    ------
    A binary file open for writing. An exception inside the block, an interrupt too, removes it.

    Raises
    ------
    OutputError
        If the folder, the disk or the rights do not allow it; a file of that name stays as it was.
    """
    try:
        target = Path(os.path.realpath(path))
    except OSError as error:  # the working folder is gone
        raise _output_error(path, error) from error
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "not a regular file"
        raise OutputError(f"cannot write {path}: it is {kind}; choose another name", code=8005)
    part = target.parent / f".infnet-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        # A failed write names no file; an error that names another file is the caller's own.
        if error.filename is not None and Path(error.filename) not in (part, target.parent):
            raise
        raise _output_error(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Refuse an output that is there already, an empty folder excepted.

    Raises
    ------
    OutputError
        If it is there; better before an hour of work than after it.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise OutputError(
            f"{path} is there already, and this command replaces nothing; remove it or choose another name",
            code=8023,
        )


def prepare_folder(path: Path) -> Path:
    """Make a folder for results where there is none, and check that it can be written to.

    Raises
    ------
    OutputError
        If it cannot be made or written to; better before an hour of work than after it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _output_error(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise _output_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


def check_folder(path: Path) -> Path:
    """Refuse a place in which no folder for results can be made or written to; makes nothing.

    Raises
    ------
    OutputError
        If a part of the path is a file, or may not be written to.
    """
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    number = 0
    if not nearest.is_dir():
        number = errno.ENOTDIR
    elif not os.access(nearest, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise _output_error(path, OSError(number, os.strerror(number)))
    return path


def _output_error(path: Path, error: OSError) -> OutputError:
    code, remedy = _REMEDIES.get(error.errno or 0, (8007, "choose another folder"))
    return OutputError(f"cannot write {path}: {error.strerror or error}; {remedy}", code=code)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot
            raise
    finally:
        os.close(descriptor)
