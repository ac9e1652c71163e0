"""TensorRT engines, and those of TensorRT for RTX.

An engine runs on the version and the kind of GPU it was built with; the sidecar says which, and is checked
before any object of TensorRT is made.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.batching import prepared_lengths
from infnet_runtime.backends.cuda.device import Device
from infnet_runtime.backends.cuda.driver import Gpu, find_gpu
from infnet_runtime.backends.cuda.open import open_device
from infnet_runtime.backends.session import ClosedByBlock, Outputs, failed
from infnet_runtime.backends.tensorrt.library import Untyped, load_library, message_log
from infnet_runtime.backends.tensorrt.runner import NUMPY_TYPES, EngineRunner
from infnet_runtime.backends.tensorrt.sidecar import EngineSidecar, EngineTensor, read_engine
from infnet_runtime.errors import BackendError, ModelError

_INSTALL = {
    "tensorrt": "pip install 'infnet[tensorrt]'",
    "tensorrt_rtx": "pip install 'tensorrt-rtx>=1.7,<2' cuda-bindings",
}
_BLOCKS_AT_ONCE = 4  # in one call, so that copies of one block hide behind the network on another


class TensorRtSession(ClosedByBlock):
    """A TensorRT engine; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Calls from several threads run one after another.

    Parameters
    ----------
    engine
        The plan; its sidecar lies beside it.
    index
        Number of the GPU.
    batch_size
        Slices in a block; what the engine was tuned for, where absent.
    load, gpu, device
        Replaced in tests: the import of TensorRT, and what finds and opens the GPU.

    Raises
    ------
    ModelError
        If the engine or its sidecar is refused, or was built by another TensorRT or for another GPU.
    BackendError
        If TensorRT, the GPU, or a package for its memory is missing; if the batch is outside the engine's.
    """

    def __init__(
        self,
        engine: Path,
        *,
        index: int = 0,
        batch_size: int | None = None,
        load: "Callable[[str], Untyped] | None" = None,
        gpu: Callable[[int], Gpu] = find_gpu,
        device: Callable[[int], Device] = open_device,
    ) -> None:
        plan, sidecar = read_engine(engine)
        trt = (load or load_tensorrt)(sidecar.package)
        here = gpu(index)
        sidecar.check_runs_with(package=sidecar.package, version=trt.__version__, capability=here.capability)
        source, results = _tensors(sidecar, engine)
        batch = sidecar.batch
        lengths = prepared_lengths(
            batch_size, smallest=batch.smallest, usual=batch.usual, largest=batch.largest
        )
        self.manifest = sidecar.manifest
        self.model_sha256 = sidecar.plan_sha256
        self.precision = sidecar.precision
        self.device = f"cuda:{index}"
        self.batch_size = lengths[-1] * _BLOCKS_AT_ONCE
        self._one_at_a_time = threading.Lock()
        self._device: Device | None = device(index)
        self.backend = f"{sidecar.package} {sidecar.version} ({self._device.name})"
        try:
            with self._device.active():
                self._runtime, self._engine = _deserialised(trt, sidecar.package, plan, engine)
                _compare(self._engine, trt, sidecar, engine)
                self._runner: EngineRunner | None = EngineRunner(
                    self._engine, self._device, source, results, lengths
                )
        except ModelError:
            self.close()
            raise
        except Exception as error:  # of the device's package, which may be any
            self.close()
            raise BackendError(
                f"{self.backend} could not be set up on {self.device} ({error}); the GPU's memory may be "
                "full, see nvidia-smi; a smaller --batch-size needs less",
                code=5025,
            ) from error

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        with self._one_at_a_time:
            if self._device is None or self._runner is None:
                raise RuntimeError("the session is closed")
            try:
                with self._device.active():
                    return self._runner.run(batch)
            except Exception as error:  # as above
                raise failed(self, error) from error

    def close(self) -> None:
        """Free the GPU."""
        with self._one_at_a_time:
            held, self._device = self._device, None
            if held is None:
                return
            with held.active():
                runner = getattr(self, "_runner", None)
                if runner is not None:
                    runner.close()
                # Contexts before the engine, the engine before the runtime.
                self._runner = self._engine = self._runtime = None
            held.close()


def load_tensorrt(package: str) -> Untyped:
    """Import TensorRT, or TensorRT for RTX.

    Raises
    ------
    BackendError
        If it is not installed or its libraries cannot be loaded.
    """
    how = _INSTALL.get(package)
    if how is None:
        raise ModelError(
            f"the engine was built by '{package}', expected {' or '.join(_INSTALL)}; build it again",
            code=4043,
        )
    return load_library(package, how)


def _deserialised(trt: Untyped, package: str, plan: bytes, path: Path) -> tuple[Untyped, Untyped]:
    log = message_log(package, trt)
    log.take_errors()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        said = "; ".join(log.take_errors()[:3]) or "no reason given"
        raise ModelError(
            f"{package} {trt.__version__} does not take the engine {path}: {said}. Build it again on this "
            "machine with infnet-export",
            code=4045,
        )
    return runtime, engine


def _tensors(sidecar: EngineSidecar, path: Path) -> tuple[EngineTensor, tuple[EngineTensor, ...]]:
    """Input and outputs, where they are what the contract promises."""
    spec = sidecar.manifest.preprocess
    expected = {o.name: (-1, o.channels, spec.size, spec.size) for o in sidecar.manifest.outputs}
    tensors = (*sidecar.inputs, *sidecar.outputs)
    if (
        [t.shape for t in sidecar.inputs] != [(-1, *spec.input_shape)]
        or {t.name: t.shape for t in sidecar.outputs} != expected
        or any(t.dtype not in NUMPY_TYPES for t in tensors)
    ):
        raise ModelError(
            f"{path} has {[(t.name, t.dtype, t.shape) for t in tensors]}, its manifest promises one input "
            f"(n, {', '.join(map(str, spec.input_shape))}) and {', '.join(map(repr, expected))} of the same "
            f"size, each {' or '.join(NUMPY_TYPES)}; build the engine again",
            code=4033,
        )
    return sidecar.inputs[0], sidecar.outputs


def _compare(engine: Untyped, trt: Untyped, sidecar: EngineSidecar, path: Path) -> None:
    """Refuse an engine that is not what its sidecar says."""

    def described(mode: Untyped) -> tuple[EngineTensor, ...]:
        return tuple(
            EngineTensor(
                name=name,
                dtype=engine.get_tensor_dtype(name).name,
                shape=tuple(engine.get_tensor_shape(name)),
            )
            for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors))
            if engine.get_tensor_mode(name) == mode
        )

    found = (described(trt.TensorIOMode.INPUT), described(trt.TensorIOMode.OUTPUT))
    batch = sidecar.batch
    profile: tuple[int, ...] = ()
    if found == (sidecar.inputs, sidecar.outputs) and engine.num_optimization_profiles > 0:
        shapes = engine.get_tensor_profile_shape(sidecar.inputs[0].name, 0)
        profile = tuple(int(shape[0]) for shape in shapes)
    if profile != (batch.smallest, batch.usual, batch.largest):
        raise ModelError(
            f"{path} takes {[(t.name, t.dtype, t.shape) for group in found for t in group]} in batches "
            f"{':'.join(map(str, profile)) or 'unknown'}, its sidecar says "
            f"{[(t.name, t.dtype, t.shape) for t in (*sidecar.inputs, *sidecar.outputs)]} in batches {batch}"
            "; copy both files again, or build the engine again",
            code=4046,
        )
