"""A TensorRT whose engines compute on plain memory, and an engine file for it.

The engine gives the mean of the three channels, so that it is known what must come back. It has exactly the
names that all supported versions have; a test compares them with the bindings.
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
from plain_device import PlainDevice

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


class IExecutionContext:
    def __init__(self, engine: "ICudaEngine") -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._n = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        self._n = shape[0]
        self._engine.shapes_set.append(shape[0])
        return smallest[0] <= shape[0] <= largest[0] and tuple(shape[1:]) == tuple(smallest[1:])

    def infer_shapes(self) -> list[str]:
        return [] if self._n else ["slices"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._n, *self._engine.tensor(name).shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine = self._engine
        if engine.failing:
            return False
        (source,), results = engine.described.inputs, engine.described.outputs
        n, addresses, device = self._n, dict(self._addresses), engine.device

        def compute() -> None:
            kind = NUMPY_TYPES[source.dtype]
            taken = device.at(addresses[source.name], (n, *source.shape[1:]), kind)
            for result in results:
                given = device.at(addresses[result.name], (n, *result.shape[1:]), NUMPY_TYPES[result.dtype])
                given[...] = expected(taken, result.shape[1])
            engine.batches_run.append(n)

        device.queue(stream, compute)
        return True


class ICudaEngine:
    """``failing``: the next network cannot be queued. ``memory_full``: there are no more contexts."""

    num_optimization_profiles = 1

    def __init__(self, described: EngineSidecar, device: PlainDevice) -> None:
        self.described, self.device = described, device
        self.batches_run: list[int] = []
        self.shapes_set: list[int] = []
        self.failing = self.memory_full = False

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors())

    def _tensors(self) -> tuple[EngineTensor, ...]:
        return (*self.described.inputs, *self.described.outputs)

    def tensor(self, name: str) -> EngineTensor:
        return next(t for t in self._tensors() if t.name == name)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors()[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [t.name for t in self.described.inputs]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensor(name).shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        batch = self.described.batch
        return [(n, *self.tensor(name).shape[1:]) for n in (batch.smallest, batch.usual, batch.largest)]

    def create_execution_context(self) -> IExecutionContext | None:
        return None if self.memory_full else IExecutionContext(self)


def fake_tensorrt(engine: ICudaEngine | None, *, version: str = VERSION) -> Callable[[str], Any]:
    """What ``load_tensorrt`` is replaced with; no engine means that TensorRT refuses the plan."""

    class Runtime:
        def __init__(self, log: ILogger) -> None:
            assert log.made
            self._log = log

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            assert plan == PLAN
            if engine is None:
                self._log.log(ILogger.ERROR, "the plan is of another version ")
                self._log.log(ILogger.WARNING, "something to know")
            return engine

    module = types.SimpleNamespace(
        __version__=version, ILogger=ILogger, Runtime=Runtime, TensorIOMode=TensorIOMode
    )
    # The log of a module is made once; a namespace cannot be a key.
    return lambda package: _Module(module)


class _Module:
    def __init__(self, module: types.SimpleNamespace) -> None:
        self.__dict__.update(vars(module))
