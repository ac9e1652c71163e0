"""What the builder needs of TensorRT: which versions, and the names that are used of it.

TensorRT 11 has no precision switch: every network is strongly typed and computes in the types of its ONNX
file. Version 10 can do the same, so that is the only way here, and nothing that one version lacks is used.
``TENSORRT_NAMES`` is compared with the bindings of each version by a test.
"""

import re

from infnet_runtime.backends.tensorrt import library
from infnet_runtime.backends.tensorrt.library import Package, Untyped, load_library
from infnet_runtime.errors import BackendError

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
        *("get_flag", "get_timing_cache", "set_flag", "set_memory_pool_limit", "set_timing_cache"),
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

RTX_NAMES: dict[str, tuple[str, ...]] = {"BuilderFlag": ("REQUIRE_USER_ALLOCATION",)}
"""The same, of TensorRT for RTX alone."""


# First version that will do, first that will not.
_VERSIONS = {Package.TENSORRT: ((10, 13), (12,)), Package.RTX: ((1, 7), (2,))}
_INSTALL = {
    Package.TENSORRT: "pip install 'infnet[gpu,export,tensorrt]'",
    Package.RTX: "pip install 'infnet[onnxruntime,export]' 'tensorrt-rtx>=1.7,<2'",
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
    module = load_library(package, install_command(package))
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


def message_log(package: Package) -> Untyped:
    """The logger of a package; see :func:`~infnet_runtime.backends.tensorrt.library.message_log`."""
    return library.message_log(package, load_tensorrt(package))
