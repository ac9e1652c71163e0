"""stdout and stderr that cannot end a command.

A stream may be closed from the start (services, ``2>&-``), lose its reader (``| head -1``), stand on a full
disk, or lack the letters of a name. The files are the result: none of this may keep the next scan from
being done.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from infnet_runtime.errors import OutputError


class _Lasting(io.RawIOBase):
    """Bytes for a stream that takes them or not; what it does not take is dropped, and the cause is kept."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream  # which would close the file when it goes
        # FileIO, that of a Windows console, or the buffer itself of a stream without one.
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        if self.failure is None:
            try:
                written: int | None = self._raw.write(data)
            except OSError as error:
                self.failure = error
            else:
                return written or 0
        return len(data)

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())


def lasting_streams() -> Callable[[], OutputError | None]:
    r"""Put streams that last in place of stdout and stderr.

    Letters that a stream cannot show are written as ``\u75c5``.

    Returns
    -------
    What tells, at the end, why stdout did not take everything; None where it did, and where its reader had
    enough and left.
    """
    _fill_closed_descriptors()
    stdout = _lasting("stdout")
    _lasting("stderr")

    def trouble() -> OutputError | None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        failure = stdout.failure if stdout else None
        if failure is None or isinstance(failure, BrokenPipeError):
            return None
        return OutputError(
            f"cannot print to stdout: {failure.strerror or failure}; what was to be printed is not complete, "
            "files that were written are. Let stdout lead to a place that can be written to",
            code=8011,
        )

    return trouble


def _fill_closed_descriptors() -> None:
    """Keep 0, 1 and 2 from files that are opened later: a library's message would land in a result."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _lasting(name: str) -> _Lasting | None:
    """Wrap a stream of ``sys``; one that a host program has replaced is left to it."""
    stream: TextIO | None = getattr(sys, name)
    if stream is None:
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process
    if not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    raw = _Lasting(stream)
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=name == "stderr",
    )
    setattr(sys, name, text)
    return raw
