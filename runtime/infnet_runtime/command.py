"""What the command lines share: errors become one line on stderr and an exit code."""

import signal
import sys
from types import FrameType

import typer

from infnet_runtime.errors import InfnetError
from infnet_runtime.version import __version__

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _Stopped(BaseException):
    """A signal arrived; not an Exception, so that no handler swallows it on its way out."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_command(app: typer.Typer) -> None:
    """Run a Typer app as a process: print an :class:`InfnetError` as one line and leave with its exit code.

    Anything else keeps its traceback and leaves with 1. SIGINT and SIGTERM unwind, so that temporary files
    are removed, and leave with 130 and 143.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(number)

    for number in _WORDS:
        signal.signal(number, stop)
    try:
        app()
    except InfnetError as error:
        typer.echo(f"error{error}", err=True)
        sys.exit(error.exit_code)
    except _Stopped as stopped:
        typer.echo(_WORDS[signal.Signals(stopped.number)], err=True)
        sys.exit(128 + stopped.number)


def print_version(asked: bool) -> None:
    """Typer callback of ``--version``."""
    if asked:
        typer.echo(f"infnet {__version__}")
        raise typer.Exit
