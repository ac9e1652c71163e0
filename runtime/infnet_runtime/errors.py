"""Errors a user can act on. The first digit of an error's code is the exit code of the command.

::

    InfnetError
    ├── InputError     3  input refused: unreadable, not a CT, bad geometry
    │   └── GeometryError
    ├── ModelError     4  model or checkpoint refused: missing, foreign, damaged, wrong version
    ├── BackendError   5  backend or device asked for is not there
    ├── GateError      7  a check on the results failed: non-finite output, parity, accuracy
    ├── OutputError    8  output cannot be written, disk full, memory limit
    └── Cancelled      9  a program that embeds the runtime stopped its own run

Exit code 0 is success, 1 an unexpected error (a bug), 2 wrong usage, 6 a batch of which some cases failed,
130 and 143 an interrupted run. Every code is explained in ``docs/errors.md``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar


class InfnetError(Exception):
    """Something the user can act on.

    Parameters
    ----------
    message
        What was found, what was expected, what to do.
    code
        Stable number of the error, listed in ``docs/errors.md``; its first digit is ``exit_code``.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Also through a pool of processes, which waits for ever for an exception that it cannot rebuild."""
        return partial(type(self), code=self.code), self.args

    def __str__(self) -> str:
        return f"[INF-{self.code}] {self.args[0]}"


class InputError(InfnetError):
    """The input is refused."""

    exit_code = 3


class GeometryError(InputError):
    """The geometry of the input is missing, damaged or contradicts itself."""


class ModelError(InfnetError):
    """The model or checkpoint is refused."""

    exit_code = 4


class BackendError(InfnetError):
    """The backend or device asked for is not there."""

    exit_code = 5


class GateError(InfnetError):
    """A check on the results failed."""

    exit_code = 7


class OutputError(InfnetError):
    """The output cannot be written."""

    exit_code = 8


class Cancelled(InfnetError):
    """The run was stopped by the program that started it; commands never are."""

    exit_code = 9
