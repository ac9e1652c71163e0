"""Progress as a bar on stderr."""

from types import TracebackType
from typing import Self


class ProgressBar:
    """Bar with the time left on stderr, or nothing."""

    def __init__(self, show: bool, what: str = "slices") -> None:
        self._show, self._what = show, what

    def __enter__(self) -> Self:
        """Draw an empty bar."""
        if self._show:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._show:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._show:
            self._bar.update(self._task, completed=done, total=total)
