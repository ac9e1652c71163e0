"""Compiled models kept between processes, for a library that takes long to compile.

A compiled model is as good as code, so it is taken only from a folder and a file that belong to this user and
that nobody else may write to; and only if file and key have the hashes they were written with. Whatever is
wrong, the model is compiled anew: no error comes from here, and the results are the same to the bit.

OpenVINO has a cache of its own (``CACHE_DIR``). It writes in place, keeps without end, trusts what it finds
and has to read the model first, which takes as long as the import itself.

``INFNET_CACHE`` names another folder, ``off`` keeps and reads nothing.
"""

import hashlib
import locale
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

VARIABLE, OFF = "INFNET_CACHE", "off"
MOST_FILES, MOST_BYTES = 8, 512 * 2**20

_PREFIX, _ENDING, _PART = "compiled-", ".model", ".part"
_MAGIC = b"infnet compiled\n"
_HASH_BYTES = 32
_HEAD_BYTES = len(_MAGIC) + 2 * _HASH_BYTES
_FORGOTTEN_S = 3600.0  # a part that is older was left by a process that was killed
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class CompiledModels:
    """A folder of compiled models; several processes may use it at the same time.

    Parameters
    ----------
    most_files, most_bytes
        What is kept; those not used for longest go first.
    """

    folder: Path
    most_files: int = MOST_FILES
    most_bytes: int = MOST_BYTES

    def trouble(self) -> str:
        """Why nothing is kept there, empty where nothing is wrong."""
        if locale.localeconv()["decimal_point"] != ".":
            return "numbers have a decimal comma in this process, and the library writes them into the file"
        try:
            nearest = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
            status = nearest.stat()
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        if not os.access(nearest, os.W_OK | os.X_OK):
            return f"{nearest} cannot be written to"
        # Under sudo no folder is made in the home of somebody else.
        reason = _not_private(status) if nearest == self.folder else _not_own(status)
        return f"{nearest} {reason}" if reason else ""

    def read(self, key: str) -> bytes | None:
        """What was kept under a key; None where there is nothing that can be trusted."""
        path = self._path(key)
        if self.trouble():
            return None
        try:
            descriptor = os.open(
                path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
            )
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or _not_private(status):
                logger.info("%s is not used: it %s", path, _not_private(status) or "is no regular file")
                return None
            head, blob = file.read(_HEAD_BYTES), file.read()
        if head != _head(key, blob):
            logger.info("%s is damaged, compiling again", path)
            return None
        with suppress(OSError):  # it goes last now
            os.utime(path)
        return blob

    def keep(self, key: str, blob: bytes | memoryview) -> None:
        """Keep a compiled model, and remove what is too much; where that cannot be done, nothing happens."""
        if reason := self.trouble():
            logger.debug("compiled models are not kept: %s", reason)
            return
        part = self.folder / f"{_PREFIX}{secrets.token_hex(8)}{_PART}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            # Not forced to the disk: a file that a power cut left half written is told by its hash.
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(_head(key, blob))
                file.write(blob)
            part.replace(self._path(key))
            self._remove_what_is_too_much()
        except OSError as error:
            logger.info("a compiled model could not be kept in %s: %s", self.folder, str(error))
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Remove what was kept under a key."""
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def size(self) -> tuple[int, int]:
        """Files and bytes that are kept."""
        held = [status.st_size for _, status in self._held(_ENDING)]
        return len(held), sum(held)

    def _path(self, key: str) -> Path:
        return self.folder / f"{_PREFIX}{_hash(key.encode()).hex()[:32]}{_ENDING}"

    def _held(self, ending: str) -> Iterator[tuple[Path, os.stat_result]]:
        with suppress(OSError):
            for path in sorted(self.folder.iterdir()):
                if path.name.startswith(_PREFIX) and path.name.endswith(ending):
                    with suppress(OSError):  # another process was quicker
                        yield path, path.lstat()

    def _remove_what_is_too_much(self) -> None:
        files = total = 0
        for path, status in sorted(self._held(_ENDING), key=lambda held: -held[1].st_mtime):
            files, total = files + 1, total + status.st_size
            if files > self.most_files or total > self.most_bytes:
                path.unlink(missing_ok=True)
        for path, status in self._held(_PART):
            if time.time() - status.st_mtime > _FORGOTTEN_S:
                path.unlink(missing_ok=True)


def compiled_models() -> CompiledModels | None:
    """The folder that the environment names, else the one where this system keeps such; None where off."""
    named = os.environ.get(VARIABLE)
    if named:
        return None if named.lower() == OFF else CompiledModels(Path(named))
    try:
        return CompiledModels(_usual_folder())
    except RuntimeError:  # there is no home
        return None


def _usual_folder() -> Path:
    """Where caches lie by the conventions of the system.

    Raises
    ------
    RuntimeError
        If this user has no home.
    """
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "infnet" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "infnet"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))  # one that is not absolute does not count
    return (named if named.is_absolute() else Path.home() / ".cache") / "infnet"


def _not_private(status: os.stat_result) -> str:
    """Why somebody else may have written there; Windows does not tell, its usual folder is the user's own."""
    if reason := _not_own(status):
        return reason
    if hasattr(os, "getuid") and status.st_mode & _OTHERS_MAY_WRITE:
        return f"may be written to by others (mode {stat.S_IMODE(status.st_mode):o}); chmod go-w"
    return ""


def _not_own(status: os.stat_result) -> str:
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return f"belongs to user {status.st_uid}, expected {os.getuid()}"
    return ""


def _head(key: str, blob: bytes | memoryview) -> bytes:
    return _MAGIC + _hash(key.encode()) + _hash(blob)


def _hash(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).digest()
