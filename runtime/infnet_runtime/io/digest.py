"""A file whose bytes are summed up while they are read, so that it need not be read twice."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

_BUFFER_BYTES = 1 << 18


class Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: Any, /) -> None:  # noqa: ANN401 - any buffer
        """Take further bytes."""

    def hexdigest(self) -> str:
        """Sum of all bytes so far."""


@contextmanager
def opened(path: Path, digest: Digest | None = None) -> Iterator[io.BufferedReader]:
    """Open a file to be read; when the block ends without an error the digest has seen all of it.

    The reader may go back and read again: each byte counts once.
    """
    if digest is None:
        with path.open("rb") as file:
            yield file
        return
    with path.open("rb", buffering=0) as raw:
        summed = _Summed(raw, digest)
        with io.BufferedReader(summed, _BUFFER_BYTES) as file:
            yield file  # type: ignore[misc]  # the stubs tell readers by what they read from
            summed.finish()


class _Summed(io.RawIOBase):
    """A file that hands the bytes up to the farthest that was read to a digest, in order."""

    def __init__(self, raw: io.FileIO, digest: Digest) -> None:
        self._raw, self._digest = raw, digest
        self._summed = 0  # bytes the digest has

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        start = self._raw.tell()
        count = self._raw.readinto(buffer) or 0
        new = start + count - self._summed
        if start <= self._summed and new > 0:
            self._digest.update(memoryview(buffer)[count - new : count])
            self._summed += new
        return count

    def finish(self) -> None:
        """Read what was passed over."""
        self._raw.seek(self._summed)
        while part := self._raw.read(_BUFFER_BYTES):
            self._digest.update(part)
