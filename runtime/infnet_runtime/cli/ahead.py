"""The next scan is read while the present one is segmented, and no scan beyond it.

Reading is inflating, checking and deciding what the values mean. Beside the present scan memory holds the
voxels of one other. What cannot be read ahead is read again in its turn, alone, so that every error comes
when and as it would without.
"""

import contextvars
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from infnet_runtime.cli.plan import Case
from infnet_runtime.io import Scan


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan, and the seconds that it took to read it."""

    scan: Scan
    seconds: float


class Reader:
    """Reads the scans of a plan, in their order. Close it, or use it as a context manager.

    Parameters
    ----------
    cases
        In the order in which they are asked for; some may be left out, or asked for twice.
    open_case
        Reads one.
    ahead
        False reads each when it is asked for, without a thread.
    """

    def __init__(self, cases: Sequence[Case], open_case: Callable[[Case], Scan], *, ahead: bool) -> None:
        self._following = {case.files.report: following for case, following in pairwise(cases)}
        self._open_case = open_case
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="infnet-read") if ahead else None
        self._next: tuple[Case, Future[ReadScan]] | None = None

    def read(self, case: Case) -> ReadScan:
        """Read a scan, or take it where it was read ahead; then begin with the one that follows.

        Raises
        ------
        InfnetError
            If it is refused.
        """
        scan = self._taken(case) or self._timed(case)
        following = self._following.get(case.files.report)
        if self._pool is not None and following is not None:
            # In the context of this thread, which knows how many threads may be used.
            within = contextvars.copy_context()
            self._next = following, self._pool.submit(within.run, self._timed, following)
        return scan

    def _taken(self, case: Case) -> ReadScan | None:
        ahead, self._next = self._next, None
        if ahead is None:
            return None
        which, job = ahead
        with suppress(Exception):
            scan = job.result()
            if which.files.report == case.files.report:
                return scan
        return None

    def _timed(self, case: Case) -> ReadScan:
        started = time.perf_counter()
        return ReadScan(self._open_case(case), time.perf_counter() - started)

    def let_go(self) -> bool:
        """Give back the memory of a scan that was read ahead and of the thread, and read none ahead any more.

        Returns
        -------
        Whether any could be.
        """
        was_ahead = self._pool is not None
        self.close()
        self._pool = None
        return was_ahead

    def close(self) -> None:
        """Wait for what is being read, and drop it."""
        self._next = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
