"""A TensorRT whose engines compute on plain memory, and an engine file for it.

The engine gives the mean of the three channels, so that it is known what must come back. The classes have
exactly the names that all supported versions have, or TensorRT for RTX where it is that; a test compares them
with the bindings. What ends when is written into the diary of the GPU.
"""

import enum
import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.backends.cuda.driver import Gpu
from infnet_runtime.backends.tensorrt.runner import NUMPY_TYPES
from infnet_runtime.backends.tensorrt.sidecar import BatchRange, EngineSidecar, EngineTensor, sidecar_path
from infnet_runtime.model.manifest import ModelManifest, PreprocessSpec
from plain_device import OutOfMemory, PlainGpu

SIZE = 32
VERSION = "11.4.0.106"
GPU = Gpu(name="NVIDIA H100", capability="9.0", driver_cuda="13.0")
PLAN = b"an engine"
USUAL_BATCH = BatchRange(1, 4, 8)
MANIFEST = ModelManifest(
    name="mean",
    version="1",
    licence="test",
    training_data="none",
    weights_sha256="0" * 64,
    preprocess=PreprocessSpec(size=SIZE),
)


def expected(batch: np.ndarray, channels: int = 1) -> np.ndarray:
    """The mean; of several channels the others share what it leaves to 1."""
    mean = batch.mean(axis=1, keepdims=True).astype(np.float32)
    rest = [(1 - mean) / (channels - 1) for _ in range(1, channels)]
    return np.concatenate([mean, *rest], axis=1)


def sidecar(*, dtype: str = "FLOAT", batch: BatchRange = USUAL_BATCH, **changes: object) -> EngineSidecar:
    values: dict[str, Any] = {
        "plan_sha256": hashlib.sha256(PLAN).hexdigest(),
        "plan_bytes": len(PLAN),
        "onnx_sha256": "1" * 64,
        "package": "tensorrt",
        "version": VERSION,
        "gpu": GPU,
        "batch": batch,
        "inputs": (EngineTensor(name="slices", dtype=dtype, shape=(-1, 3, SIZE, SIZE)),),
        "outputs": (EngineTensor(name="infection_probability", dtype=dtype, shape=(-1, 1, SIZE, SIZE)),),
        "layers": {"HALF": 400, "FLOAT": 30},
        "kept_in_fp32": (),
        "tf32": False,
        "manifest": MANIFEST,
    }
    return EngineSidecar(**(values | changes))


def write_engine(path: Path, described: EngineSidecar) -> Path:
    path.write_bytes(PLAN)
    sidecar_path(path).write_text(described.to_json())
    return path


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 2


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self.made = True

    def log(self, level: int, message: str) -> None:
        raise NotImplementedError


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


SCRATCH = 5000  # bytes a context needs while it runs, for the largest batch
WEIGHTS = 7000  # bytes of an engine
OF_A_CONTEXT = 300  # bytes it takes for itself, whoever gives the scratch
FALLBACK_RUNS = 4  # of a context of TensorRT for RTX, until the kernels for its shape are compiled
FALLBACK_ERROR = np.float32(1e-3)


class Plan:
    """What a test sets and sees of all engines that are made of one plan.

    ``failing``: the next network cannot be queued. ``scratches``: the memory that contexts were given.
    ``recorded_inside``, ``recorded_outside``: graphs by TensorRT for RTX itself, and by others.
    """

    def __init__(self, described: EngineSidecar, gpu: PlainGpu | None = None, device: Any = None) -> None:  # noqa: ANN401
        self.described, self.gpu, self._device = described, gpu or PlainGpu(), device
        self.log: ILogger | None = None
        self.batches_run: list[int] = []
        self.shapes_set: list[int] = []
        self.scratches: list[tuple[int, int]] = []
        self.failing = False
        self.recorded_inside = self.recorded_outside = self.compiled = 0

    @property
    def device(self) -> Any:  # noqa: ANN401 - a plain device, or what a test has in its place
        return self._device or self.gpu.devices[-1]

    @property
    def diary(self) -> list[str]:
        return self.gpu.diary

    def error(self, message: str) -> None:
        if self.log is not None:
            self.log.log(ILogger.ERROR, message)

    def tensors(self) -> tuple[EngineTensor, ...]:
        return (*self.described.inputs, *self.described.outputs)

    def tensor(self, name: str) -> EngineTensor:
        return next(t for t in self.tensors() if t.name == name)


class IExecutionContext:
    def __init__(
        self,
        engine: "ICudaEngine",
        strategy: ExecutionContextAllocationStrategy,
        config: "IRuntimeConfig | None",
    ) -> None:
        self._engine, self._plan, self._config = engine, engine._plan, config  # both live as long as this
        self._own = OF_A_CONTEXT
        if strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            self._own += SCRATCH
        self._has_scratch = strategy is not ExecutionContextAllocationStrategy.USER_MANAGED
        self._taken = 0
        self._plan.gpu.take(self._own)
        self._taken = self._own
        self._addresses: dict[str, int] = {}
        self._n = self._runs = 0

    def __del__(self) -> None:
        self._plan.gpu.give_back(self._taken)
        if self._taken:
            self._plan.diary.append("context destroyed")

    def set_device_memory(self, memory: int, size: int) -> None:
        self._plan.scratches.append((memory, size))
        here = getattr(self._engine._device, "size_at", lambda address: size)(memory)
        self._has_scratch = memory % 256 == 0 and SCRATCH <= size <= here

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        self._n = shape[0]
        self._plan.shapes_set.append(shape[0])
        return smallest[0] <= shape[0] <= largest[0] and tuple(shape[1:]) == tuple(smallest[1:])

    def infer_shapes(self) -> list[str]:
        return [] if self._n else ["slices"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._n, *self._plan.tensor(name).shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        plan = self._plan
        if plan.failing or not self._has_scratch:
            plan.error("no memory for the network" if not self._has_scratch else "it fails")
            return False
        (source,), results = plan.described.inputs, plan.described.outputs
        n, addresses, device = self._n, dict(self._addresses), self._engine._device
        off = self._error_of_fallback()

        def compute() -> None:
            kind = NUMPY_TYPES[source.dtype]
            taken = device.at(addresses[source.name], (n, *source.shape[1:]), kind)
            for result in results:
                given = device.at(addresses[result.name], (n, *result.shape[1:]), NUMPY_TYPES[result.dtype])
                step = SIZE // result.shape[2]  # of a coarser output every so many pixels
                given[...] = expected(taken, result.shape[1])[..., ::step, ::step] + off
            plan.batches_run.append(n)

        device.queue(stream, compute)
        return True

    def _error_of_fallback(self) -> np.float32:
        """Of the kernels for any shape, which TensorRT for RTX may start with."""
        self._runs += 1
        config = self._config
        if config is None:
            return np.float32(0)
        if getattr(self._engine._device, "recording", False):
            self._plan.recorded_outside += 1
        eager = DynamicShapesKernelSpecializationStrategy.EAGER
        ready = config.dynamic_shapes_kernel_specialization_strategy is eager or self._runs > FALLBACK_RUNS
        if ready and self._runs == 2 and config.cuda_graph_strategy is CudaGraphStrategy.WHOLE_GRAPH_CAPTURE:
            self._plan.recorded_inside += 1
        if self._runs == 1:
            config._compile(self._n)
        return np.float32(0) if ready else FALLBACK_ERROR


class IRuntimeCache:
    """Holds the batch sizes that were compiled. What begins otherwise is refused, as that of another GPU."""

    def __init__(self) -> None:
        self._compiled: set[int] = set()

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"compiled:"):
            return False
        self._compiled = {int(n) for n in blob[9:].split(b",")}
        return True

    def serialize(self) -> bytes:
        return b"compiled:" + ",".join(map(str, sorted(self._compiled))).encode()


class IRuntimeConfig:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._strategy = ExecutionContextAllocationStrategy.STATIC
        self._cache: IRuntimeCache | None = None
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy: ExecutionContextAllocationStrategy) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True

    def _compile(self, n: int) -> None:
        if self._cache is None or n not in self._cache._compiled:
            self._plan.compiled += 1
        if self._cache is not None:
            self._cache._compiled.add(n)


class ICudaEngine:
    num_optimization_profiles = 1
    device_memory_size_v2 = SCRATCH

    def __init__(self, plan: Plan, runtime: object) -> None:
        self._plan, self._runtime = plan, runtime  # which lives as long as this
        self._device = plan.device
        self._taken = 0
        plan.gpu.take(WEIGHTS)
        self._taken = WEIGHTS

    def __del__(self) -> None:
        self._plan.gpu.give_back(self._taken)
        self._plan.diary.append("engine destroyed")

    @property
    def num_io_tensors(self) -> int:
        return len(self._plan.tensors())

    def get_tensor_name(self, index: int) -> str:
        return self._plan.tensors()[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [t.name for t in self._plan.described.inputs]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._plan.tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._plan.tensor(name).shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        batch = self._plan.described.batch
        rest = self._plan.tensor(name).shape[1:]
        return [(n, *rest) for n in (batch.smallest, batch.usual, batch.largest)]

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._plan)

    def create_execution_context(self, how: Any) -> IExecutionContext | None:  # noqa: ANN401 - of two kinds
        config = how if isinstance(how, IRuntimeConfig) else None
        try:
            return IExecutionContext(self, how if config is None else config._strategy, config)
        except OutOfMemory as error:
            self._plan.error(f"[virtualMemoryBuffer.cpp] Error Code 2: OutOfMemory ({error})")
            return None


def fake_tensorrt(plan: Plan | None, *, version: str = VERSION) -> Callable[[str], Any]:
    """What ``load_tensorrt`` is replaced with; no plan means that TensorRT refuses it."""

    class Runtime:
        def __init__(self, log: ILogger) -> None:
            assert log.made
            self._log = log

        def __del__(self) -> None:
            if plan is not None:
                plan.diary.append("runtime destroyed")

        def deserialize_cuda_engine(self, content: bytes) -> ICudaEngine | None:
            assert content == PLAN
            if plan is None:
                self._log.log(ILogger.ERROR, "the plan is of another version ")
                self._log.log(ILogger.WARNING, "something to know")
                return None
            plan.log = self._log
            try:
                return ICudaEngine(plan, self)
            except OutOfMemory as error:
                plan.error(f"[runtime.cpp] Error Code 2: OutOfMemory ({error})")
                return None

    module = types.SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=TensorIOMode,
        ExecutionContextAllocationStrategy=ExecutionContextAllocationStrategy,
        CudaGraphStrategy=CudaGraphStrategy,
        DynamicShapesKernelSpecializationStrategy=DynamicShapesKernelSpecializationStrategy,
    )
    # The log of a module is made once; a namespace cannot be a key.
    return lambda package: _Module(module)


class _Module:
    def __init__(self, module: types.SimpleNamespace) -> None:
        self.__dict__.update(vars(module))
