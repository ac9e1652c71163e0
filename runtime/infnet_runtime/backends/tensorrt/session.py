"""TensorRT engines, and those of TensorRT for RTX.

An engine runs on the version and the kind of GPU it was built with; the sidecar says which, and is checked
before any object of TensorRT is made.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.batching import prepared_lengths
from infnet_runtime.backends.compiled import CompiledModels
from infnet_runtime.backends.cuda.device import Device
from infnet_runtime.backends.cuda.driver import Gpu, find_gpu
from infnet_runtime.backends.cuda.open import open_device
from infnet_runtime.backends.cuda.owner import OwnerThread
from infnet_runtime.backends.session import ClosedByBlock, Outputs, failed
from infnet_runtime.backends.tensorrt.engine import LoadedEngine
from infnet_runtime.backends.tensorrt.library import Package, Untyped, load_library
from infnet_runtime.backends.tensorrt.runner import NUMPY_TYPES, EngineRunner
from infnet_runtime.backends.tensorrt.sidecar import EngineSidecar, read_engine
from infnet_runtime.errors import BackendError, InfnetError, ModelError
from infnet_runtime.model.asked import Asked, asked_of
from infnet_runtime.model.coarse_logits import outputs_given, outputs_promised

_INSTALL = {
    Package.TENSORRT: "pip install 'infnet[tensorrt]'",
    Package.RTX: "pip install 'tensorrt-rtx>=1.7,<2' cuda-bindings",
}
_BLOCKS_AT_ONCE = 4  # in one call, so that copies of one block hide behind the network on another


class TensorRtSession(ClosedByBlock):
    """A TensorRT engine; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Calls from several threads run one after another, in a thread of the session's own.

    Parameters
    ----------
    engine
        The plan; its sidecar lies beside it.
    index
        Number of the GPU.
    batch_size
        Slices in a block; what the engine was tuned for, where absent.
    kept
        Where TensorRT for RTX keeps what it compiled; absent, it compiles at every start.
    coarse
        Give coarse logits in the place of the probabilities, where the engine has them.
    asked
        Outputs that are given; an engine computes the others as well, and they stay on the GPU.
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
        kept: CompiledModels | None = None,
        coarse: bool = False,
        asked: Asked = Asked.EVERY,
        load: "Callable[[str], Untyped] | None" = None,
        gpu: Callable[[int], Gpu] = find_gpu,
        device: Callable[[int], Device] = open_device,
    ) -> None:
        plan, sidecar = read_engine(engine)
        trt = (load or load_tensorrt)(sidecar.package)
        here = gpu(index)
        sidecar.check_runs_with(package=sidecar.package, version=trt.__version__, capability=here.capability)
        _check_contract(sidecar, engine)
        batch = sidecar.batch
        lengths = prepared_lengths(
            batch_size, smallest=batch.smallest, usual=batch.usual, largest=batch.largest
        )
        self.manifest = asked_of(sidecar.manifest, asked, str(engine))
        self.coarse = sidecar.coarse if coarse else None
        self.model_sha256 = sidecar.plan_sha256
        self.precision = sidecar.precision
        self.device = f"cuda:{index}"
        self.batch_size = lengths[-1] * _BLOCKS_AT_ONCE
        self._device: Device | None = None
        self._engine: LoadedEngine | None = None
        self._runner: EngineRunner | None = None
        self._owner = OwnerThread(self)
        key = (
            f"{sidecar.package} {sidecar.version}, plan {sidecar.plan_sha256}, {here.name} with compute "
            f"capability {here.capability}"
        )
        try:
            loaded = partial(LoadedEngine, trt, plan, sidecar, engine)
            self._owner.open(partial(self._open, partial(device, index), loaded, sidecar, lengths, kept, key))
        except BaseException as error:  # of TensorRT or of the device's package it may be any
            self.close()
            if isinstance(error, InfnetError) or not isinstance(error, Exception):
                raise
            raise BackendError(
                f"{sidecar.package} {sidecar.version} could not be set up on {self.device} ({error}); the "
                "GPU's memory may be full, see nvidia-smi; a smaller --batch-size needs less",
                code=5025,
            ) from error

    def _open(
        self,
        device: Callable[[], Device],
        engine: Callable[[], LoadedEngine],
        sidecar: EngineSidecar,
        lengths: tuple[int, ...],
        kept: CompiledModels | None,
        key: str,
    ) -> None:
        self._device = device()
        self.backend = f"{sidecar.package} {sidecar.version} ({self._device.name})"
        self._engine = engine()
        self._engine.use_compiled(kept, key)
        given = outputs_given(self.manifest, self.coarse)
        self._runner = EngineRunner(
            self._engine,
            self._device,
            sidecar.inputs[0],
            tuple(o for o in sidecar.outputs if o.name in given),
            lengths,
            unread=tuple(o for o in sidecar.outputs if o.name not in given),
        )
        self._engine.keep_compiled(kept, key)

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        return self._owner.run(partial(self._run, batch))

    def _run(self, batch: FloatArray) -> Outputs:
        assert self._runner is not None
        try:
            return self._runner.run(batch)
        except Exception as error:  # of TensorRT or of the device's package, which may be any
            raise failed(self, error) from error

    def close(self) -> None:
        """Free the GPU."""
        self._owner.close(self._free)

    def _free(self) -> None:
        """Give back what there is: contexts, then the engine, then what both lie in."""
        if self._runner is not None:
            self._runner.close()
        self._runner = None
        if self._engine is not None:
            self._engine.close()
        self._engine = None
        held, self._device = self._device, None
        if held is not None:
            held.close()


def load_tensorrt(package: str) -> Untyped:
    """Import TensorRT, or TensorRT for RTX.

    Raises
    ------
    BackendError
        If it is not installed or its libraries cannot be loaded.
    """
    if package not in _INSTALL:
        raise ModelError(
            f"the engine was built by '{package}', expected {' or '.join(_INSTALL)}; build it again",
            code=4043,
        )
    return load_library(package, _INSTALL[Package(package)])


def _check_contract(sidecar: EngineSidecar, path: Path) -> None:
    """Refuse an engine whose input and outputs are not what the contract promises."""
    spec = sidecar.manifest.preprocess
    if sidecar.coarse:
        sidecar.coarse.check(sidecar.manifest)
    promised = outputs_promised(sidecar.manifest, sidecar.coarse)
    expected = {name: (-1, *shape) for name, shape in promised.items()}
    tensors = (*sidecar.inputs, *sidecar.outputs)
    if (
        [t.shape for t in sidecar.inputs] != [(-1, *spec.input_shape)]
        or {t.name: t.shape for t in sidecar.outputs} != expected
        or any(t.dtype not in NUMPY_TYPES for t in tensors)
    ):
        raise ModelError(
            f"{path} has {[(t.name, t.dtype, t.shape) for t in tensors]}, its manifest promises one input "
            f"(n, {', '.join(map(str, spec.input_shape))}) and "
            f"{', '.join(f'{name!r} {shape}' for name, shape in promised.items())}, each "
            f"{' or '.join(NUMPY_TYPES)}; build the engine again",
            code=4033,
        )
