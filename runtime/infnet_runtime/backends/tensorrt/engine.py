"""A plan as TensorRT holds it: the runtime, the engine, and what makes execution contexts of it.

The scratch memory of a context is the caller's: what TensorRT would take itself it takes when a context is
made, for the largest batch that the engine knows, once for each context.

TensorRT for RTX compiles kernels on the GPU that it runs on. It is told to do so at once for each batch size,
because by default it starts with others that fit any size, and changes over at some later call: another
speed, other bytes, and a graph that somebody recorded would hold on to the slow ones. So it records its
graphs itself. What it compiled is kept for the next process.
"""

import logging
from pathlib import Path
from typing import Any

from infnet_runtime.backends.compiled import CompiledModels
from infnet_runtime.backends.tensorrt.library import Package, Untyped, message_log
from infnet_runtime.backends.tensorrt.sidecar import EngineSidecar, EngineTensor
from infnet_runtime.errors import ModelError

logger = logging.getLogger(__name__)

_MEMORY_FULL = ("outofmemory", "out of memory")
_SAID = 3  # of TensorRT's own errors in a message


class EngineFailure(RuntimeError):
    """TensorRT said no while it ran."""


class LoadedEngine:
    """A deserialised plan. The GPU is the current one of the calling thread, from here to ``close``.

    Parameters
    ----------
    path
        Of the plan, for messages.

    Raises
    ------
    ModelError
        If TensorRT does not take the plan, or it is not what its sidecar says.
    EngineFailure
        If there is no memory for it.
    """

    def __init__(self, trt: Untyped, plan: bytes, sidecar: EngineSidecar, path: Path) -> None:
        self._trt, self._log = trt, message_log(sidecar.package, trt)
        self._log.take_errors()
        self._runtime: Any = trt.Runtime(self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        self._config: Any = None
        self._cache: Any = None
        if self._engine is None:
            said = self.said()
            if any(words in said.lower() for words in _MEMORY_FULL):
                raise EngineFailure(said)
            raise ModelError(
                f"{sidecar.package} {trt.__version__} does not take the engine {path}: {said}. Build "
                "it again on this machine with infnet-export",
                code=4045,
            )
        self._check_described_by(sidecar, path)
        self.records_graphs = sidecar.package == Package.RTX
        """Whether a context records the graph of its network itself, and must not be recorded."""
        if self.records_graphs:
            self._config = self._engine.create_runtime_config()
            self._config.set_execution_context_allocation_strategy(self._user_managed)
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            self._config.dynamic_shapes_kernel_specialization_strategy = eager

    def use_compiled(self, kept: CompiledModels | None, key: str) -> None:
        """Share what is compiled between contexts, and take what an earlier process compiled.

        Parameters
        ----------
        kept
            Where that is; absent, no process leaves anything.
        key
            Of the plan, TensorRT and the GPU; TensorRT looks at these again, and at the driver.
        """
        if self._config is None:
            return
        self._cache = self._config.create_runtime_cache()
        blob = None if kept is None else kept.read(key)
        if kept is not None and blob is not None and not self._cache.deserialize(blob):
            logger.info("kernels kept for %s do not fit, compiling again", key)
            kept.forget(key)
            self._cache = self._config.create_runtime_cache()
        self._config.set_runtime_cache(self._cache)

    def keep_compiled(self, kept: CompiledModels | None, key: str) -> None:
        """Keep what was compiled since; when every context has run."""
        if self._cache is None or kept is None:
            return
        blob = bytes(self._cache.serialize())
        if blob != kept.read(key):
            kept.keep(key, blob)

    @property
    def _user_managed(self) -> Untyped:
        return self._trt.ExecutionContextAllocationStrategy.USER_MANAGED

    @property
    def scratch_bytes(self) -> int:
        """Memory that a context needs while it runs; contexts that do not run together may share it."""
        return int(self._engine.device_memory_size_v2)

    def new_context(self) -> Untyped:
        """An execution context without scratch memory.

        Raises
        ------
        EngineFailure
            If TensorRT makes none.
        """
        how = self._user_managed if self._config is None else self._config
        context = self._engine.create_execution_context(how)
        if context is None:
            raise EngineFailure(
                f"TensorRT made no execution context ({self.said()}); the GPU's memory may be full"
            )
        return context

    def said(self) -> str:
        """TensorRT's errors since they were last asked for."""
        return "; ".join(self._log.take_errors()[:_SAID]) or "no reason given"

    def _check_described_by(self, sidecar: EngineSidecar, path: Path) -> None:
        modes = self._trt.TensorIOMode
        found = (self._tensors(modes.INPUT), self._tensors(modes.OUTPUT))
        batch = sidecar.batch
        profile: tuple[int, ...] = ()
        if found == (sidecar.inputs, sidecar.outputs) and self._engine.num_optimization_profiles > 0:
            shapes = self._engine.get_tensor_profile_shape(sidecar.inputs[0].name, 0)
            profile = tuple(int(shape[0]) for shape in shapes)
        if profile != (batch.smallest, batch.usual, batch.largest):
            raise ModelError(
                f"{path} takes {[(t.name, t.dtype, t.shape) for group in found for t in group]} in batches "
                f"{':'.join(map(str, profile)) or 'unknown'}, its sidecar says "
                f"{[(t.name, t.dtype, t.shape) for t in (*sidecar.inputs, *sidecar.outputs)]} in batches "
                f"{batch}; copy both files again, or build the engine again",
                code=4046,
            )

    def _tensors(self, mode: Untyped) -> tuple[EngineTensor, ...]:
        engine = self._engine
        return tuple(
            EngineTensor(
                name=name,
                dtype=engine.get_tensor_dtype(name).name,
                shape=tuple(engine.get_tensor_shape(name)),
            )
            for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors))
            if engine.get_tensor_mode(name) == mode
        )

    def close(self) -> None:
        """Let go, the engine before the runtime; contexts must be gone."""
        self._config = None
        self._cache = None
        self._engine = None
        self._runtime = None
