"""The files of a folder, a zip archive or a list, and their bytes.

Nothing is unpacked to disk, and no path that a file states is followed, a DICOMDIR's neither.
"""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from infnet_runtime.errors import InputError
from infnet_runtime.io.formats import format_by_name
from infnet_runtime.io.walk import walk_files

_MOST_FILES = 1_000_000
# Of an archive: CT packs to a half or a third, empty pictures to a thousandth.
_MOST_UNPACKED_BYTES = 16 * 2**30
_MOST_MEMBER_BYTES = 4 * 2**30
_RATIO, _RATIO_FROM_BYTES = 200, 2**28
_ENCRYPTED = 0x1
# Others may take gigabytes for what they claim, and fail in ways of their own.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PREAMBLE = 128
MAGIC = b"DICM"
_META_START = _PREAMBLE + len(MAGIC)
_LONGEST_META = 1 << 12
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
# No file of a CT is larger inflated: 4000 frames of 1024 x 1024.
_MOST_INFLATED_BYTES = 8 * 2**30
_INFLATE_RATIO = 1032  # the most that deflate does


@dataclass(frozen=True)
class Archive:
    """A zip archive that was looked through."""

    path: Path
    zip: zipfile.ZipFile


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file, on disk or in an archive.

    Parameters
    ----------
    path
        Of the file, or of the archive.
    member
        Of the archive.
    """

    path: Path
    member: str | None = None
    archive: Archive | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return self.path.name if self.member is None else f"{self.path.name}:{self.member}"

    @property
    def own_name(self) -> str:
        """Of the file alone."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    def open(self) -> BinaryIO:
        """The bytes, inflated where the file is a deflated one.

        Raises
        ------
        InputError
            If they cannot be read, or are more than any CT has.
        """
        try:
            stream: BinaryIO = self._stored()
            start = stream.read(_LONGEST_META)
            if _DEFLATED in start and start[_PREAMBLE:_META_START] == MAGIC:
                with stream:
                    return io.BytesIO(_inflated(start + stream.read(), self.name))
            stream.seek(0)
        except OSError as error:
            if self.path.is_symlink() and not self.path.exists():
                raise InputError(
                    f"{self.path} is a link whose content is not there, and may be a slice; fetch it (git "
                    "annex get, datalad get), or take the link away",
                    code=3025,
                ) from error
            raise InputError(f"cannot read {self.name}: {error.strerror or error}", code=3005) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(
                f"{self.name} cannot be unpacked ({error}); copy or pack it again", code=3255
            ) from error
        return stream

    def _stored(self) -> BinaryIO:
        if self.archive is None:
            return self.path.open("rb")
        return io.BytesIO(self.archive.zip.read(self.member or ""))


def _inflated(raw: bytes, name: str) -> bytes:
    """A deflated file as the plain one that it stands for, in explicit little endian."""
    length = int.from_bytes(raw[_META_START + 8 : _META_START + 12], "little")
    start = _META_START + 12 + length
    most = min(_MOST_INFLATED_BYTES, _INFLATE_RATIO * len(raw) + 1)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(raw[start:], most)
    if inflater.unconsumed_tail:
        raise InputError(f"{name} inflates to more than {most} bytes; no CT does", code=3255)
    return raw[:start].replace(_DEFLATED, _PLAIN) + inflated


def find_files(paths: Sequence[Path]) -> list[DicomFile]:
    """All files of folders, archives and a list, sorted by name.

    Names that begin with a full stop are left out: macOS lays ``._IM0001`` beside ``IM0001``. Links to
    folders are followed, each folder is entered once. A DICOMDIR stands for its folder.

    Raises
    ------
    InputError
        If a path leads nowhere, a folder cannot be read, or an archive is refused.
    """
    found: list[DicomFile] = []
    for path in paths:
        given = path.parent if path.name.upper() == "DICOMDIR" else path
        if given.is_dir():
            found += (DicomFile(one) for one in _walk(given))
        elif zipfile.is_zipfile(given):
            found += _members(given)
        elif given.is_file():
            found.append(DicomFile(given))
        else:
            raise InputError(f"there is no file or folder {path}; check the spelling", code=3001)
        if len(found) > _MOST_FILES:
            raise InputError(
                f"{path} holds more than {_MOST_FILES} files; give the folder of one scan", code=3271
            )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(
            f"cannot read the folder {error.filename or folder}: {error.strerror or error}; slices may lie "
            "in it",
            code=3005,
        )

    return (path for path in walk_files(folder, refuse) if _is_readable(path))


def _is_readable(path: Path) -> bool:
    """Whether it is a file, or a link whose content may be a slice: that one is refused when it is opened."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return format_by_name(path) is None


def _members(path: Path) -> list[DicomFile]:
    try:
        archive = Archive(path, zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"{path} is no zip archive that can be read ({error}); pack it again", code=3255
        ) from error
    members = [info for info in archive.zip.infolist() if not info.filename.endswith("/")]
    packed, unpacked = path.stat().st_size, sum(info.file_size for info in members)
    largest = max((info.file_size for info in members), default=0)
    if len(members) > _MOST_FILES or unpacked > _MOST_UNPACKED_BYTES or largest > _MOST_MEMBER_BYTES:
        raise InputError(
            f"{path} unpacks to {len(members)} files of {unpacked} bytes, expected {_MOST_FILES} files and "
            f"{_MOST_UNPACKED_BYTES} bytes at most, {_MOST_MEMBER_BYTES} in one; unpack it yourself and give "
            "the folder",
            code=3255,
        )
    if unpacked > _RATIO_FROM_BYTES and unpacked > _RATIO * packed:
        raise InputError(
            f"{path} unpacks from {packed} to {unpacked} bytes, which no CT does: a zip bomb?", code=3255
        )
    for info in members:
        if info.compress_size > packed:
            raise InputError(
                f"{path} claims {info.compress_size} bytes for {info.filename!r} and has {packed} in all; "
                "pack it again",
                code=3255,
            )
        place = PurePosixPath(info.filename.replace("\\", "/"))
        if info.flag_bits & _ENCRYPTED:
            raise InputError(f"{path} is encrypted; unpack it and give the folder", code=3255)
        if info.compress_type not in _METHODS:
            raise InputError(
                f"{path} is packed by method {info.compress_type}, expected deflate, as every program does; "
                "unpack it and give the folder",
                code=3255,
            )
        if place.is_absolute() or ".." in place.parts:
            raise InputError(
                f"{path} has the member {info.filename!r}, which leads out of the archive; do not trust it",
                code=3255,
            )
    kept = (info for info in members if not PurePosixPath(info.filename).name.startswith("."))
    return [DicomFile(path, info.filename, archive) for info in sorted(kept, key=lambda info: info.filename)]
