"""Gzip at the speed of ISA-L: unpacking, in parallel where the file says how, and packing.

Where the package isal is not there, Python's own modules do the same, at half the speed or less.

Deflate is a chain: where a member of a gzip file ends is known when it has been unpacked. Only the blocked
format BGZF (SAM/BAM specification, section 4.1, https://samtools.github.io/hts-specs/SAMv1.pdf) writes the
length of each member into its header, so that is what several threads unpack.
"""

import gzip
import io
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

_GzipFile: Any = gzip.GzipFile
_zlib: Any = zlib
try:
    from isal import igzip, isal_zlib
except ImportError:
    pass
else:
    _GzipFile, _zlib = igzip.IGzipFile, isal_zlib

# The stubs of isal declare its error as an instance.
GZIP_ERRORS = (EOFError, zlib.error, cast(type[Exception], _zlib.error), gzip.BadGzipFile)
"""What a damaged gzip file raises."""

MAGIC = b"\x1f\x8b"

# Level 1 of ISA-L: a fifth of the time of zlib's level 1 on masks or less, and smaller files. Its higher
# levels make masks no smaller. Of zlib it is the fastest that packs.
_LEVEL = 1

# Fixed part of the header and the one extra field of BGZF: length 6, of it the subfield "BC" of 2 bytes.
_BLOCK_HEADER = struct.Struct("<4s6xH2sHH")
_BLOCK_MAGIC = MAGIC + b"\x08\x04"  # deflate, with an extra field and nothing else
_BLOCK_BYTES = 1 << 16  # the most that a member unpacks to
_MEMBERS_AT_ONCE = 64  # about 4 MiB unpacked
_GZIP_WRAPPED = 31  # window bits of zlib for a gzip member with its checksum


@contextmanager
def unpacked(file: BinaryIO, *, threads: int = 1) -> Iterator[io.BufferedIOBase]:
    """Stream of what a gzip file holds, from where the file stands.

    Parameters
    ----------
    threads
        For files in BGZF; others take one. Used up and joined when the block ends.
    """
    start = file.tell()
    blocked = threads > 1 and _block_bytes(file.read(_BLOCK_HEADER.size)) is not None
    file.seek(start)
    if not blocked:
        yield _reader(file)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="infnet-unpack") as pool:
        stream = io.BufferedReader(_Blocks(file, pool, ahead=threads + 1), _BLOCK_BYTES)
        try:
            yield stream
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def packed(file: BinaryIO) -> Iterator[io.BufferedIOBase]:
    """Stream that packs what is written to it.

    No time and no name is stored, so that equal content gives equal bytes.
    """
    with _GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as stream:
        yield stream


def _reader(file: BinaryIO) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, _GzipFile(fileobj=file, mode="rb"))


class _Blocks(io.RawIOBase):
    """The members of a BGZF file, unpacked ahead of the reader by a bounded number of jobs."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor, *, ahead: int) -> None:
        self._file, self._pool, self._ahead = file, pool, ahead
        self._jobs: deque[Future[bytes]] = deque()
        self._part = memoryview(b"")
        self._rest: io.BufferedIOBase | None = None  # what follows the blocks, if anything does
        self._in_blocks = True

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of any writable buffer
        """Fill a buffer as far as the next job goes."""
        while not self._part:
            while self._in_blocks and len(self._jobs) < self._ahead:
                self._start_job()
            if not self._jobs:
                return 0 if self._rest is None else int(self._rest.readinto(buffer))
            self._part = memoryview(self._jobs.popleft().result())
        count = min(len(self._part), len(buffer))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        return count

    def _start_job(self) -> None:
        members: list[bytes] = []
        while len(members) < _MEMBERS_AT_ONCE:
            start = self._file.tell()
            header = self._file.read(_BLOCK_HEADER.size)
            length = _block_bytes(header)
            if length is None:
                # Ordinary members, zeros that fill a tape block, or the end: one thread does the rest.
                self._in_blocks = False
                self._file.seek(start)
                if header.strip(b"\0"):
                    self._rest = _reader(self._file)
                break
            members.append(header + self._file.read(length - len(header)))
        if members:
            self._jobs.append(self._pool.submit(_unpack_members, members))


def _block_bytes(header: bytes) -> int | None:
    """Length of a BGZF member by its header; None for anything else."""
    if len(header) < _BLOCK_HEADER.size:
        return None
    magic, extra_bytes, subfield, subfield_bytes, length = _BLOCK_HEADER.unpack(header)
    if (magic, extra_bytes, subfield, subfield_bytes) != (_BLOCK_MAGIC, 6, b"BC", 2):
        return None
    return length + 1 if length >= _BLOCK_HEADER.size else None


def _unpack_members(members: list[bytes]) -> bytes:
    parts = []
    for member in members:
        job = _zlib.decompressobj(_GZIP_WRAPPED)
        # One byte more than allowed shows a member that is larger, without unpacking all of it.
        parts.append(job.decompress(member, _BLOCK_BYTES + 1))
        if len(parts[-1]) > _BLOCK_BYTES or not job.eof or job.unused_data:
            raise EOFError("a block ends early or is larger than the format allows")
    return b"".join(parts)
