"""From an ONNX model to a serialised engine.

The types of the ONNX file are the types of the engine (strong typing), so there is nothing to choose about
precision here. The size of the slices is fixed by the model; the batch is free within a range.
"""

import logging
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from infnet_export.tensorrt.api import load_tensorrt, message_log
from infnet_runtime.backends.cuda.driver import Gpu, find_gpu
from infnet_runtime.backends.tensorrt.library import Package, Untyped
from infnet_runtime.backends.tensorrt.sidecar import DEFAULT_BATCH, BatchRange, EngineTensor
from infnet_runtime.errors import BackendError, InputError, ModelError, OutputError
from infnet_runtime.io.atomic import atomic_write

logger = logging.getLogger(__name__)

_MIB = 1 << 20
_LEVELS = range(6)
_SHOWN_ERRORS = 3


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine is built.

    Parameters
    ----------
    package
        ``tensorrt_rtx`` builds without a GPU, for GeForce and RTX cards.
    workspace_mib : MiB
        Most memory a layer may use for scratch.
    level
        Effort from 0 to 5; 3 is TensorRT's own default, higher builds for longer.
    tf32
        Let FP32 layers round their inputs to 10 bits, as TensorRT does unless told otherwise.
    timing_cache
        Folder for measured kernel times, which make the next build faster. One file for each version of
        TensorRT and each GPU. TensorRT for RTX measures nothing and leaves it alone.
    """

    package: Package = Package.TENSORRT
    batch: BatchRange = DEFAULT_BATCH
    workspace_mib: int = 4 * 1024
    level: int = 3
    tf32: bool = False
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.workspace_mib < 1:
            raise InputError(f"workspace is {self.workspace_mib} MiB, expected 1 or more", code=3141)
        if self.level not in _LEVELS:
            raise InputError(
                f"optimisation level is {self.level}, expected {_LEVELS[0]} to {_LEVELS[-1]}", code=3141
            )


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A serialised engine and what is known about it.

    Parameters
    ----------
    layers
        Element type to number of layers that give it, constants left out.
    tf32
        Whether FP32 layers may round their inputs to 10 bits, as TensorRT has it noted.
    parse_s, build_s : s
    """

    plan: bytes
    version: str
    gpu: Gpu | None
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    layers: dict[str, int]
    tf32: bool
    parse_s: float
    build_s: float


def check_can_build(package: Package) -> Gpu | None:
    """Refuse early where no engine can be built.

    Returns
    -------
    The GPU that the engine will be built on and for; none for TensorRT for RTX, which needs none.

    Raises
    ------
    BackendError
        If the package is missing or of an unknown version, or it needs a GPU and there is none.
    """
    load_tensorrt(package)
    return find_gpu() if package is Package.TENSORRT else None


def build_plan(model: bytes, settings: EngineSettings, *, source: str) -> BuiltEngine:
    """Build an engine.

    Parameters
    ----------
    model
        Content of a whole ONNX file with a free batch and fixed other dimensions.
    source
        The file, for messages.

    Raises
    ------
    ModelError
        If TensorRT does not take the model.
    BackendError
        If no engine can be built here, or the build fails.
    """
    gpu = check_can_build(settings.package)  # before any TensorRT object is made
    trt, log = load_tensorrt(settings.package), message_log(settings.package)
    log.take_errors()
    builder = trt.Builder(log)
    # The flag is needed with TensorRT 10 and ignored from 11 on.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    began = time.perf_counter()
    if not parser.parse(model):
        raise _refused_by_parser(parser, log.take_errors(), settings.package, source)
    parsed = time.perf_counter()
    inputs = tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib * _MIB)
    config.builder_optimization_level = settings.level
    if settings.package is Package.RTX:
        # What a context needs is then known when it is made, and nothing is taken while it runs.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    (config.set_flag if settings.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    _set_batch(profile, inputs, settings.batch, source)
    if config.add_optimization_profile(profile) < 0:
        raise _failed("the batch range was refused", log.take_errors(), settings, source)
    cache = _timing_cache_path(settings, trt.__version__, gpu)
    if cache is not None:
        _read_timing_cache(config, cache)
    plan = builder.build_serialized_network(network, config)
    built = time.perf_counter()
    if plan is None:
        raise _failed("no engine came out", log.take_errors(), settings, source)
    if cache is not None:
        _write_timing_cache(config, cache)
    layers = _layer_types(network, trt.LayerType.CONSTANT)
    del parser  # not before the build is done: the network refers to weights that the parser holds
    return BuiltEngine(
        plan=bytes(plan),
        version=trt.__version__,
        gpu=gpu,
        inputs=inputs,
        outputs=outputs,
        layers=layers,
        tf32=bool(config.get_flag(trt.BuilderFlag.TF32)),
        parse_s=parsed - began,
        build_s=built - parsed,
    )


def _tensor(tensor: Untyped) -> EngineTensor:
    return EngineTensor(name=tensor.name, dtype=tensor.dtype.name, shape=tuple(tensor.shape))


def _set_batch(profile: Untyped, inputs: tuple[EngineTensor, ...], batch: BatchRange, source: str) -> None:
    for one in inputs:
        if one.shape[:1] != (-1,) or -1 in one.shape[1:]:
            raise ModelError(
                f"{source} takes {one.name} {one.shape}, expected a free batch (-1) and everything else "
                "fixed; export it again with infnet-export",
                code=4033,
            )
        fixed = one.shape[1:]
        profile.set_shape(one.name, (batch.smallest, *fixed), (batch.usual, *fixed), (batch.largest, *fixed))


def _layer_types(network: Untyped, constant: Untyped) -> dict[str, int]:
    layers = (network.get_layer(i) for i in range(network.num_layers))
    return dict(
        Counter(
            layer.get_output(0).dtype.name for layer in layers if layer.num_outputs and layer.type != constant
        ).most_common()
    )


def _refused_by_parser(parser: Untyped, logged: list[str], package: Package, source: str) -> ModelError:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    said = [_parser_error(error) for error in errors] or logged[:_SHOWN_ERRORS] or ["no reason given"]
    return ModelError(
        f"{package} does not take {source}: {'; '.join(said)}. Export the model again with infnet-export; a "
        "strongly typed network needs one type for all inputs of an operator",
        code=4130,
    )


def _parser_error(error: Untyped) -> str:
    name, operator, text = error.node_name(), error.node_operator(), " ".join(error.desc().split())
    return f"node '{name}' ({operator}): {text}" if operator else text


def _failed(what: str, errors: list[str], settings: EngineSettings, source: str) -> BackendError:
    said = "; ".join(errors[:_SHOWN_ERRORS]) or "no reason given"
    return BackendError(
        f"{settings.package} could not build an engine from {source} for batches {settings.batch}, {what}: "
        f"{said}. If memory is short, try a smaller batch or --workspace (now {settings.workspace_mib} MiB)",
        code=5022,
    )


def _timing_cache_path(settings: EngineSettings, version: str, gpu: Gpu | None) -> Path | None:
    """One file for each version of TensorRT and each GPU: times of another are worth nothing."""
    if settings.timing_cache is None:
        return None
    if gpu is None:
        logger.info("%s measures no kernels, the timing cache is left alone", settings.package)
        return None
    name = re.sub(r"\W+", "-", f"{gpu.name} sm{gpu.capability}")
    return settings.timing_cache / f"tensorrt-{version}-{name}.timing"


def _read_timing_cache(config: Untyped, path: Path) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise InputError(
            f"cannot read the timing cache {path}: {error.strerror}; remove it or choose another folder",
            code=3142,
        ) from error
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, False):  # False: not from another GPU
        logger.warning("the timing cache %s does not fit and is made again", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_timing_cache(config: Untyped, path: Path) -> None:
    """Keep the times. Without them the next build takes longer, so a full disk does not fail this one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(bytes(config.get_timing_cache().serialize()))
    except (OSError, OutputError) as error:
        logger.warning("the timing cache was not kept: %s", error)
