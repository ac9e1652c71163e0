"""The import of TensorRT, the names that are used of it, and its one logger.

TensorRT 11 has no precision switch: every network is strongly typed and computes in the types of its ONNX
file. Version 10 can do the same, so that is the only way here, and nothing that one version lacks is used.
``TENSORRT_NAMES`` is compared with the bindings of each version by a test.
"""

import functools
import importlib
import importlib.util
import logging
import re
from enum import StrEnum
from typing import Any, TypeAlias

from infnet_runtime.errors import BackendError

logger = logging.getLogger(__name__)

Untyped: TypeAlias = Any
"""An object of TensorRT, which comes without types."""

TENSORRT_NAMES: dict[str, tuple[str, ...]] = {
    "": ("__version__",),
    "Builder": (
        *("create_network", "create_builder_config", "create_optimization_profile"),
        "build_serialized_network",
    ),
    "BuilderFlag": ("TF32",),
    "DataType": ("name",),
    "IBuilderConfig": (
        *("add_optimization_profile", "builder_optimization_level", "clear_flag", "create_timing_cache"),
        *("get_timing_cache", "set_memory_pool_limit", "set_timing_cache"),
    ),
    "ILayer": ("get_output", "num_outputs", "type"),
    "ILogger": ("ERROR", "INTERNAL_ERROR", "WARNING", "log"),
    "INetworkDefinition": (
        *("get_input", "get_layer", "get_output", "num_inputs", "num_layers", "num_outputs"),
    ),
    "IOptimizationProfile": ("set_shape",),
    "ITensor": ("dtype", "name", "shape"),
    "ITimingCache": ("serialize",),
    "LayerType": ("CONSTANT",),
    "MemoryPoolType": ("WORKSPACE",),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "OnnxParser": ("get_error", "num_errors", "parse"),
    "ParserError": ("desc", "node_name", "node_operator"),
}
"""Class to the names that are used of it, and those of the module itself under ``""``."""


class Package(StrEnum):
    """Which TensorRT builds."""

    TENSORRT = "tensorrt"
    RTX = "tensorrt_rtx"


# First version that will do, first that will not.
_VERSIONS = {Package.TENSORRT: ((10, 13), (12,)), Package.RTX: ((1, 7), (2,))}
_INSTALL = {
    Package.TENSORRT: "pip install 'infnet[gpu,export,tensorrt]'",
    Package.RTX: "pip install 'infnet[cpu,export]' 'tensorrt-rtx>=1.7,<2'",
}


def install_command(package: Package) -> str:
    """What installs a package together with what the export needs."""
    return _INSTALL[package]


def load_tensorrt(package: Package) -> Untyped:
    """Import TensorRT.

    Raises
    ------
    BackendError
        If it is not installed, its libraries cannot be loaded, or its version is not one of those known.
    """
    if importlib.util.find_spec(package) is None:
        raise BackendError(f"{package} is not installed: {install_command(package)}", code=5020)
    try:
        module = importlib.import_module(package)
    except (ImportError, OSError) as error:
        raise BackendError(
            f"{package} is installed and cannot be loaded ({error}); install it again: "
            f"{install_command(package)}",
            code=5020,
        ) from error
    check_version(package, module.__version__)
    return module


def check_version(package: Package, version: str) -> None:
    """Refuse a version whose names were not compared.

    Raises
    ------
    BackendError
        If it is too old or too new.
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    first, end = _VERSIONS[package]
    if not first <= numbers < end:
        raise BackendError(
            f"{package} {version} is installed, expected {_dotted(first)} or newer and below {_dotted(end)}: "
            f"{install_command(package)}",
            code=5023,
        )


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


@functools.cache
def message_log(package: Package) -> Untyped:
    """The logger of a package, one for the process: TensorRT keeps the first it is given.

    Errors are collected for the message of the exception and are not printed; warnings go to ``logging``.
    """
    trt = load_tensorrt(package)
    errors, warning = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR), trt.ILogger.WARNING

    class MessageLog(trt.ILogger):  # type: ignore[misc, name-defined]  # a class of a module without types
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
