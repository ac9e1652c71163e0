"""A kind of spoilt input: how case ``n`` is made, and who reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Kind:
    """Spoilt inputs of one kind.

    Parameters
    ----------
    name
        As the command line takes it; the cases depend on it.
    share
        Part of the cases, against those of other kinds.
    make
        Writes a case into an empty folder and returns what is to be read.
    read
        Reads it, and raises ``AssertionError`` where what was read cannot be.
    may_warn
        Packages whose own warnings, of what they find odd in a file, are no finding.
    may_print
        Decoders in C print what they find; that is a finding only where the case was read all the same.
    """

    name: str
    share: int
    make: Callable[[Random, Path], Path]
    read: Callable[[Path], None]
    may_warn: tuple[str, ...] = ()
    may_print: bool = False

    def case(self, seed: int, number: int, folder: Path) -> Path:
        """Make a case again."""
        return self.make(Random(f"{self.name}/{seed}/{number}"), folder)


def write(folder: Path, name: str, content: bytes) -> Path:
    """Put a file into a folder."""
    path = folder / name
    path.write_bytes(content)
    return path
