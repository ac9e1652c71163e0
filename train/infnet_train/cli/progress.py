"""What a training says on stderr: its log, and how far it is."""

import logging
import sys
from typing import Self


def log_to_stderr() -> None:
    """Show the log with the time of each line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


class Progress:
    """A bar with the time left on a terminal, a line now and then elsewhere."""

    def __enter__(self) -> Self:
        """Draw an empty bar."""
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._bar.start()
        self._task = self._bar.add_task("training", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        """Move the bar, or write a line."""
        self._bar.update(self._task, completed=done, total=total, description=text)
        if not sys.stderr.isatty() and done % 50 == 0:
            logging.getLogger(__name__).info("step %d of %d, %s", done, total, text)
