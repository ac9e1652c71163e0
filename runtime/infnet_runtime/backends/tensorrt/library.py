"""The import of TensorRT and of TensorRT for RTX, and one logger, whether engines are run or built."""

import functools
import importlib
import importlib.util
import logging
from enum import StrEnum
from typing import Any, TypeAlias

from infnet_runtime.errors import BackendError

logger = logging.getLogger(__name__)

Untyped: TypeAlias = Any
"""An object of TensorRT, which comes without types."""


class Package(StrEnum):
    """Which TensorRT."""

    TENSORRT = "tensorrt"
    RTX = "tensorrt_rtx"


def load_library(package: str, install: str) -> Untyped:
    """Import TensorRT, or TensorRT for RTX.

    Parameters
    ----------
    package
        Of :class:`Package`.
    install
        What installs it together with what the caller needs.

    Raises
    ------
    BackendError
        If it is not installed or its libraries cannot be loaded.
    """
    if importlib.util.find_spec(package) is None:
        raise BackendError(f"{package} is not installed: {install}", code=5020)
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:
        raise BackendError(
            f"{package} is installed and cannot be loaded ({error}); install it again: {install}", code=5020
        ) from error


@functools.cache
def message_log(package: str, trt: Untyped) -> Untyped:
    """The logger of a package, one for the process: TensorRT keeps the first it is given.

    Errors are collected for the message of the exception and are not printed; warnings go to ``logging``.
    """
    errors, warning = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR), trt.ILogger.WARNING

    class MessageLog(trt.ILogger):  # type: ignore[misc]  # a class of a module without types
        """Collects errors until they are taken."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the base is not made by super() in pybind11's classes
            self._errors: list[str] = []

        def log(self, level: Untyped, message: str) -> None:
            """Called by TensorRT, from its own threads too."""
            if level in errors:
                self._errors.append(message.strip())
            elif level == warning:
                logger.warning("%s: %s", package, message.strip())

        def take_errors(self) -> list[str]:
            """Errors since the last call."""
            taken, self._errors = self._errors, []
            return taken

    return MessageLog()
