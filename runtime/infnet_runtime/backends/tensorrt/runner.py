"""A TensorRT engine on a device: buffers, lanes and graphs.

Two lanes take the blocks of a call in turn. A lane has a stream, page-locked memory for one block in and one
out, and device memory for both, so that one lane copies while the other computes. The work of a lane on a
block, copy in, network, copy out, is recorded once for each batch size and then launched as one graph.
TensorRT ties a recording to the shapes of its execution context, so each has a context of its own.

Nothing here imports TensorRT or CUDA: the engine is handed in, and
:class:`~infnet_runtime.backends.cuda.device.Device` is a protocol.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray, FloatArray
from infnet_runtime.backends.batching import Block, blocks
from infnet_runtime.backends.cuda.device import Device, byte_count
from infnet_runtime.backends.tensorrt.sidecar import EngineTensor

logger = logging.getLogger(__name__)


NUMPY_TYPES: dict[str, type[np.floating[Any]]] = {"FLOAT": np.float32, "HALF": np.float16}
"""Types of inputs and outputs that are run, by TensorRT's names."""

_LANES = 2


class EngineFailure(RuntimeError):
    """TensorRT said no while it ran."""


@dataclass
class _Program:
    """One execution context, set to one batch size, and the graph of its work."""

    context: Any
    graph: int | None
    launched: Callable[[], None]


class EngineRunner:
    """Runs an engine. Used by one thread at a time, inside ``device.active()``.

    Parameters
    ----------
    engine
        A deserialised engine with one input.
    source, results
        What it takes and gives; the first axis is the batch.
    lengths
        Batch sizes to run, rising.
    """

    def __init__(
        self,
        engine: Any,  # noqa: ANN401 - an object of TensorRT, which comes without types
        device: Device,
        source: EngineTensor,
        results: tuple[EngineTensor, ...],
        lengths: tuple[int, ...],
    ) -> None:
        self._lengths, self._results = lengths, results
        self._new_lane = partial(_Lane, engine, device, source, results, lengths)
        # The first lane is set up now, so that a lack of memory is told when the session opens.
        self._lanes = [self._new_lane()]

    def run(self, batch: FloatArray) -> dict[str, FloatArray]:
        """Run a batch of any length."""
        outputs = {r.name: np.empty((len(batch), *r.shape[1:]), np.float32) for r in self._results}
        under_way: deque[tuple[_Lane, Block]] = deque()
        try:
            for number, block in enumerate(blocks(len(batch), self._lengths)):
                lane = self._lane(number % _LANES)
                if len(under_way) == _LANES:
                    _collect(*under_way.popleft(), outputs)
                lane.begin(batch[block.start : block.stop], block.length)
                under_way.append((lane, block))
            while under_way:
                _collect(*under_way.popleft(), outputs)
        except BaseException:
            # Nothing may still write to the buffers when the next call fills them.
            for lane, _ in under_way:
                lane.abandon()
            raise
        return outputs

    def close(self) -> None:
        """Let go of contexts and page-locked memory; the rest is the device's."""
        while self._lanes:
            self._lanes.pop().close()

    def _lane(self, number: int) -> "_Lane":
        if number == len(self._lanes):
            self._lanes.append(self._new_lane())
        return self._lanes[number]


def _collect(lane: "_Lane", block: Block, outputs: dict[str, FloatArray]) -> None:
    for name, found in lane.finish(block.stop - block.start).items():
        outputs[name][block.start : block.stop] = found


class _Lane:
    def __init__(
        self,
        engine: Any,  # noqa: ANN401 - see above
        device: Device,
        source: EngineTensor,
        results: tuple[EngineTensor, ...],
        lengths: tuple[int, ...],
    ) -> None:
        self._engine, self._device = engine, device
        self._source, self._results = source, results
        self._stream = device.stream()
        self._host_in, self._address_in = self._buffers(source, lengths[-1])
        self._out = {result.name: self._buffers(result, lengths[-1]) for result in results}
        self._programs: dict[int, _Program] = {}

    def _buffers(self, tensor: EngineTensor, length: int) -> tuple[AnyArray, int]:
        shape, dtype = (length, *tensor.shape[1:]), NUMPY_TYPES[tensor.dtype]
        return self._device.pinned(shape, dtype), self._device.memory(byte_count(shape, dtype))

    def begin(self, part: FloatArray, length: int) -> None:
        """Queue the work on some slices, filled up to a batch."""
        self._host_in[: len(part)] = part  # to the type of the engine
        self._host_in[len(part) : length] = 0
        program = self._programs.get(length)
        if program is None:
            # Queues the work itself: the recording needs one run before it anyway.
            self._programs[length] = self._prepare(length)
        elif program.graph is None:
            program.launched()
        else:
            self._device.launch(program.graph, self._stream)

    def finish(self, n: int) -> dict[str, AnyArray]:
        """Wait -> each output (n, ...), views that the next block overwrites."""
        self._device.synchronize(self._stream)
        return {name: host[:n] for name, (host, _) in self._out.items()}

    def abandon(self) -> None:
        """Wait, after a failure somewhere."""
        try:
            self._device.synchronize(self._stream)
        except Exception as error:  # the first error is the one to tell
            logger.debug("after a failure: %s", error)

    def close(self) -> None:
        """Let go at once: the programs refer to the lane, and a circle would be freed some time later."""
        self._programs.clear()
        self._out.clear()
        del self._host_in

    def _prepare(self, length: int) -> _Program:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineFailure("TensorRT made no execution context; the GPU's memory may be full")
        shape = (length, *self._source.shape[1:])
        if not context.set_input_shape(self._source.name, shape):
            raise EngineFailure(f"TensorRT refused the shape {shape}")
        missing = context.infer_shapes()
        for result in self._results:
            given = tuple(context.get_tensor_shape(result.name))
            if missing or given != (length, *result.shape[1:]):
                raise EngineFailure(f"TensorRT gives {given} for {shape}, missing {list(missing)}")
        addresses = {name: address for name, (_, address) in self._out.items()}
        for name, address in {self._source.name: self._address_in, **addresses}.items():
            if not context.set_tensor_address(name, address):
                raise EngineFailure(f"TensorRT refused the memory for {name}")

        def work() -> None:
            self._device.copy_in(self._address_in, self._host_in[:length], self._stream)
            if not context.execute_async_v3(self._stream):
                raise EngineFailure("TensorRT could not queue the network")
            for host, address in self._out.values():
                self._device.copy_out(host[:length], address, self._stream)

        work()
        self._device.synchronize(self._stream)  # first use may allocate, which cannot be recorded
        graph: int | None = None
        try:
            graph = self._device.capture(self._stream, work)
        except Exception as error:  # of whichever package the device is
            logger.info("batches of %d run without a CUDA graph: %s", length, error)
        return _Program(context=context, graph=graph, launched=work)
