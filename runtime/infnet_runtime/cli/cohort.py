"""The table of all scans of a call, ``--csv``: a row for each from the beginning, filled in as it is done."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infnet_runtime.cli.plan import Case
from infnet_runtime.errors import OutputError
from infnet_runtime.io import prepare_folder
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.report.files import printable
from infnet_runtime.report.tables import NOT_DONE, as_cell, scan_row, scan_table, scans_in

_LARGEST_TABLE = 1 << 28  # bytes; a scan takes about 3000
_EVERY_S = 10.0  # so much is lost at most when the process is killed


class CohortTable:
    """A table that is on the disk from the beginning.

    Parameters
    ----------
    path
        Of the table. An earlier table is replaced if all of its scans are among these.

    Raises
    ------
    OutputError
        If something else is there, or is to be written there, or the file cannot be written.
    """

    def __init__(self, path: Path, cases: Sequence[Case]) -> None:
        self._path = path
        self._rows: list[dict[str, object]] = [
            {
                "status": NOT_DONE,
                "file": printable(case.path.name),
                "path": printable(str(case.path)),
                "series": case.dicom.series if case.dicom else None,
            }
            for case in cases
        ]
        self._filled = 0
        self._refuse_foreign(cases)
        prepare_folder(path.parent)
        self.write()

    def add(self, document: Mapping[str, Any]) -> None:
        """Fill in the row of the next scan, from its report or from what stands for it where it failed."""
        self._rows[self._filled] |= scan_row(document)
        self._filled += 1
        if time.monotonic() - self._written > _EVERY_S:
            self.write()

    def write(self) -> None:
        """Bring the table to the disk."""
        with atomic_write(self._path) as file:
            file.write(scan_table(self._rows).encode())
        self._written = time.monotonic()

    def _refuse_foreign(self, cases: Sequence[Case]) -> None:
        taken = {path.resolve() for case in cases for path in (case.path, *case.files.all)}
        if self._path.resolve() in taken:
            raise OutputError(
                f"--csv {self._path} is the name of a scan or of its result; choose another name", code=8080
            )
        if not self._path.exists():
            return
        earlier = _earlier(self._path)
        if earlier is None:
            raise OutputError(
                f"{self._path} is there already and no table of scans that this infnet writes: it may be "
                "yours; rename it, or choose another name",
                code=8081,
            )
        now = {(str(as_cell(row["path"])), str(row["series"] or "")) for row in self._rows}
        lost = sorted(" ".join(scan).strip() for scan in earlier - now)
        if lost:
            raise OutputError(
                f"{self._path} is there already and holds scans that are not done now: {lost[0]}"
                f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}; their rows would be lost: rename "
                "it, or choose another name",
                code=8082,
            )


def _earlier(path: Path) -> set[tuple[str, str]] | None:
    """Scans of an earlier table; None if the file is something else."""
    try:
        with path.open("rb") as file:
            return scans_in(file.read(_LARGEST_TABLE).decode())
    except (OSError, ValueError):
        return None
