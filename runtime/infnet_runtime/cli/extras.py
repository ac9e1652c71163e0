"""Commands of an extra that is not installed: their entry points are there in every installation."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from infnet_runtime.errors import BackendError


@contextmanager
def extra_named(extra: str, *packages: str) -> Iterator[None]:
    """Around a command: where one of its packages is missing, say which extra has it and leave with 5.

    Parameters
    ----------
    packages
        What the extra adds to an installation. The lack of any other module is a bug and stays one.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        missing = BackendError(
            f"this command needs {package}, which is not installed; pip install 'infnet[{extra}]'", code=5030
        )
        typer.echo(f"error{missing}", err=True)
        sys.exit(missing.exit_code)
