"""Where sessions for a GPU run in these tests: on a GPU, or on what stands in for one.

A place opens sessions on a small model of which the right answer is known, counts memory, and can be made to
refuse. Stand-ins run everywhere, so that the tests themselves are known to work; the others need a GPU.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

import fake_tensorrt
from driver_memory import DriverMemory
from fake_onnxruntime import REAL, FakeCuda
from infnet_runtime.backends.cuda.bindings import BindingsDevice
from infnet_runtime.backends.cuda.device import Device
from infnet_runtime.backends.cuda.pycuda import PyCudaDevice
from infnet_runtime.backends.ort import cuda as ort_cuda
from infnet_runtime.backends.ort.cuda import OrtCudaSession
from infnet_runtime.backends.session import Session
from infnet_runtime.backends.tensorrt.library import Package
from infnet_runtime.backends.tensorrt.session import TensorRtSession
from infnet_runtime.backends.tensorrt.sidecar import BatchRange
from infnet_runtime.errors import ModelError
from plain_device import PlainDevice, PlainGpu
from tiny_models import SIZE, mid_grey_detector

EXACT, ROUNDED = 0.0, 1e-4
"""Distances of probabilities: the stand-ins compute as the reference does; a GPU in another order, and the
model multiplies rounding by 20 before its sigmoid."""


class Place(ABC):
    """See above. ``tolerance``: furthest from the reference. ``slack``: bytes that come and go unasked."""

    tolerance = EXACT
    slack = 0
    size = SIZE

    @abstractmethod
    def open(self, batch_size: int = 4) -> Session:
        """A session on the model."""

    @abstractmethod
    def reference(self, batch: np.ndarray) -> np.ndarray:
        """What must come back."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Memory that is left."""

    @abstractmethod
    def full(self) -> AbstractContextManager[None]:
        """No memory for anybody, for a block."""

    @abstractmethod
    def refusing_graphs(self) -> AbstractContextManager[None]:
        """No graph can be recorded, for a block."""

    def close(self) -> None:  # noqa: B027 - most have nothing
        """After the test."""

    def slices(self, n: int, seed: int = 0) -> np.ndarray:
        """Network input."""
        return np.random.default_rng(seed).random((n, 3, self.size, self.size), np.float32)


def _refused(device: object, stream: int, work: object) -> int:
    raise RuntimeError("recording was refused")


@contextmanager
def _without_recording(kind: type) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "capture", _refused)
        yield


class _OnPlainGpu(Place):
    def __init__(self, gpu: PlainGpu) -> None:
        self._gpu = gpu

    def free_bytes(self) -> int:
        return self._gpu.size - self._gpu.used

    @contextmanager
    def full(self) -> Iterator[None]:
        before, self._gpu.size = self._gpu.size, self._gpu.used
        yield
        self._gpu.size = before


class OrtStandIn(_OnPlainGpu):
    """ONNX Runtime's CPU provider that says it is CUDA."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._here = FakeCuda(index=0)
        self._here.install(patch)
        super().__init__(self._here.gpu)
        self._model = mid_grey_detector(folder / "model.onnx", gain=20.0)

    def open(self, batch_size: int = 4) -> Session:
        return OrtCudaSession(self._model, index=0, threads=1, batch_size=batch_size)

    def reference(self, batch: np.ndarray) -> np.ndarray:
        return _on_cpu(self._model, batch)

    @contextmanager
    def refusing_graphs(self) -> Iterator[None]:
        self._here.capture_fails = True
        yield
        self._here.capture_fails = False


class EngineStandIn(_OnPlainGpu):
    """A TensorRT that computes in plain memory."""

    size = fake_tensorrt.SIZE

    def __init__(self, package: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(PlainGpu())
        self._plan = fake_tensorrt.Plan(fake_tensorrt.sidecar(package=package), self._gpu)
        self._path = fake_tensorrt.write_engine(folder / "model.plan", self._plan.described)

    def open(self, batch_size: int = 4) -> Session:
        return TensorRtSession(
            self._path,
            batch_size=batch_size,
            load=fake_tensorrt.fake_tensorrt(self._plan),
            gpu=lambda index: fake_tensorrt.GPU,
            device=self._gpu.open,
        )

    def reference(self, batch: np.ndarray) -> np.ndarray:
        return fake_tensorrt.expected(batch)

    def refusing_graphs(self) -> AbstractContextManager[None]:
        return _without_recording(PlainDevice)


class _OnGpu(Place):
    tolerance = ROUNDED
    slack = 4 << 20  # kernels that the driver loads late, in portions of 2 MiB

    def __init__(self, device: type[BindingsDevice] | type[PyCudaDevice], folder: Path) -> None:
        self._device_kind = device
        self._memory = DriverMemory()
        self._model = mid_grey_detector(folder / "model.onnx", gain=20.0)

    def reference(self, batch: np.ndarray) -> np.ndarray:
        return _on_cpu(self._model, batch)

    def free_bytes(self) -> int:
        return self._memory.free_bytes()

    def full(self) -> AbstractContextManager[None]:
        return self._memory.full()

    def close(self) -> None:
        self._memory.close()


class OrtOnGpu(_OnGpu):
    """ONNX Runtime on CUDA, with memory through the package given."""

    def __init__(
        self,
        device: type[BindingsDevice] | type[PyCudaDevice],
        folder: Path,
        patch: pytest.MonkeyPatch,
    ) -> None:
        super().__init__(device, folder)
        patch.setattr(ort_cuda, "open_device", device)
        self._without_graph = _with_a_node_for_the_cpu(self._model, folder / "atan.onnx")
        self._current = self._model

    def open(self, batch_size: int = 4) -> Session:
        return OrtCudaSession(self._current, index=0, threads=1, batch_size=batch_size)

    @contextmanager
    def refusing_graphs(self) -> Iterator[None]:
        self._current = self._without_graph
        yield
        self._current = self._model


class EngineOnGpu(_OnGpu):
    """TensorRT or TensorRT for RTX, with memory through the package given."""

    def __init__(
        self,
        package: str,
        device: type[BindingsDevice] | type[PyCudaDevice],
        folder: Path,
        patch: pytest.MonkeyPatch,
    ) -> None:
        super().__init__(device, folder)
        self._engine = built(package, self._model, folder / "model.plan")

    def open(self, batch_size: int = 4) -> Session:
        device: Callable[[int], Device] = self._device_kind
        return TensorRtSession(self._engine, batch_size=batch_size, device=device)

    def refusing_graphs(self) -> AbstractContextManager[None]:
        return _without_recording(self._device_kind)


def built(package: str, model: Path, target: Path) -> Path:
    """Build an engine in FP32, so that it can be compared closely; one that is there is taken."""
    if target.exists():
        return target
    from infnet_export.tensorrt.builder import EngineSettings
    from infnet_export.tensorrt.engine import build_engine

    settings = EngineSettings(package=Package(package), batch=BatchRange(1, 4, 8))
    return build_engine(model, target, settings).path


def _on_cpu(model: Path, batch: np.ndarray) -> np.ndarray:
    session = REAL(model.read_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def _with_a_node_for_the_cpu(model: Path, target: Path) -> Path:
    """The same numbers through an operator that ONNX Runtime has on the CPU alone: no graph can hold it."""
    graph = onnx.load(model)
    (given,) = graph.graph.node[-1].output
    graph.graph.node[-1].output[0] = "straight"
    nodes = (
        onnx.helper.make_node("Atan", ["straight"], ["angle"]),
        onnx.helper.make_node("Tan", ["angle"], [given]),
    )
    graph.graph.node.extend(nodes)
    onnx.save(graph, target)
    return target


STAND_INS: dict[str, Callable[[Path, pytest.MonkeyPatch], Place]] = {
    "onnxruntime stand-in": OrtStandIn,
    "tensorrt stand-in": partial(EngineStandIn, "tensorrt"),
    "tensorrt_rtx stand-in": partial(EngineStandIn, "tensorrt_rtx"),
}
ON_GPU: dict[str, Callable[[Path, pytest.MonkeyPatch], Place]] = {
    f"{backend} with {name}": partial(make, kind)
    for name, kind in (("cuda-bindings", BindingsDevice), ("pycuda", PyCudaDevice))
    for backend, make in (
        ("onnxruntime", OrtOnGpu),
        ("tensorrt", partial(EngineOnGpu, "tensorrt")),
        ("tensorrt_rtx", partial(EngineOnGpu, "tensorrt_rtx")),
    )
}
PACKAGES = {"cuda-bindings": "cuda.bindings", "pycuda": "pycuda"}


def refuses_this_gpu(error: ModelError) -> bool:
    """TensorRT for RTX takes engines on some GPUs only."""
    return error.code == 4045
