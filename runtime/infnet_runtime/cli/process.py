"""What the command lines share: errors become one line on stderr and an exit code."""

import difflib
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import ClassVar

import typer
from typer.core import TyperGroup

from infnet_runtime.cli.console import lasting_streams
from infnet_runtime.cli.failures import typed
from infnet_runtime.errors import InfnetError
from infnet_runtime.version import __version__

EXIT_SOME_FAILED = 6
"""Several inputs, some of them failed."""

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _DefaultContext(typer.Context):
    """Of the command that needs no name: usage and hints leave the name out."""

    @property
    def command_path(self) -> str:
        """As it is typed."""
        return self.parent.command_path if self.parent else super().command_path


class DefaultCommandGroup(TyperGroup):
    """Commands, one of which runs where none is named: ``tool FILE`` is ``tool <default> FILE``.

    ``--help`` alone explains that one, which names the others. A file that is called like a command is given
    as ``./name``; a name that is neither a file nor quite a command is refused.
    """

    default_command: ClassVar[str]

    def parse_args(  # type: ignore[override]  # the base class names a private type
        self, ctx: typer.Context, args: list[str]
    ) -> list[str]:
        """Put the default command before arguments that start with no other command."""
        self.commands[self.default_command].context_class = _DefaultContext
        if not args or args[0] not in self.commands:
            self._refuse_mistyped(ctx, args)
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def _refuse_mistyped(self, ctx: typer.Context, args: list[str]) -> None:
        word = args[0] if args else ""
        near = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.7)
        if near and word.isalpha() and not Path(word).exists():
            raise typer.BadParameter(f"no file {word}; did you mean the command {near[0]}?", ctx=ctx)


class _Stopped(BaseException):
    """A signal arrived; not an Exception, so that no handler swallows it on its way out."""

    def __init__(self, number: int) -> None:
        self.number = number


def run_command(app: typer.Typer) -> None:
    """Run a Typer app as a process: print an :class:`InfnetError` as one line and leave with its exit code.

    So does memory that runs out. Anything else keeps its traceback and leaves with 1. SIGINT and SIGTERM
    unwind, so that temporary files are removed, and leave with 130 and 143. A stdout that does not take what
    is printed ends nothing; the command leaves with 8 when it is done, or with 0 where the reader left.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(number)

    trouble_on_stdout = lasting_streams()
    for number in _WORDS:
        signal.signal(number, stop)
    code = _exit_code(app)
    trouble = trouble_on_stdout()
    if trouble is not None:
        typer.echo(f"error{trouble}", err=True)
    sys.exit(trouble.exit_code if trouble is not None and code in (None, 0, EXIT_SOME_FAILED) else code)


def _exit_code(app: typer.Typer) -> int | str | None:
    try:
        app()
    except SystemExit as left:
        return left.code
    except _Stopped as stopped:
        typer.echo(_WORDS[signal.Signals(stopped.number)], err=True)
        return 128 + stopped.number
    except Exception as error:
        known = typed(error)
        if known is None:
            raise
        typer.echo(f"error{known}", err=True)
        return known.exit_code
    return 0


def print_version(asked: bool) -> None:
    """Typer callback of ``--version``: the package, and the model that is used where none is given."""
    if asked:
        typer.echo(f"infnet {__version__}\nmodel {_model()}")
        raise typer.Exit


def _model() -> str:
    from infnet_runtime.model.manifest_file import manifest_of
    from infnet_runtime.model.shipped import default_model

    try:
        model = default_model()
        if model.suffix.lower() != ".onnx":
            return str(model)
        manifest = manifest_of(model)
    except InfnetError as error:
        return f"none: {error}"
    return (
        f"{manifest.name} {manifest.version}, {model}{', with classes' * (manifest.class_output is not None)}"
    )
