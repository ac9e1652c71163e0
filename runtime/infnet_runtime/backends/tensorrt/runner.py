"""A TensorRT engine on a device: buffers, lanes and graphs.

Two lanes take the blocks of a call in turn. A lane has a stream, page-locked memory for one block in and one
out, and device memory for both and for the network's scratch, so that one lane copies while the other
computes. The work of a lane on a block, copy in, network, copy out, is recorded once for each batch size and
then launched as one graph. TensorRT ties a recording to the shapes of its execution context, so each has a
context of its own; those of a lane never run together and share the scratch.

All memory is taken and every context has run when the runner is made: what is too much is told then.

Nothing here imports TensorRT or CUDA: the engine is handed in, and
:class:`~infnet_runtime.backends.cuda.device.Device` is a protocol.
"""

import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray, FloatArray
from infnet_runtime.backends.batching import Block, blocks
from infnet_runtime.backends.cuda.device import Device, byte_count
from infnet_runtime.backends.tensorrt.engine import EngineFailure, LoadedEngine
from infnet_runtime.backends.tensorrt.sidecar import EngineTensor

logger = logging.getLogger(__name__)


NUMPY_TYPES: dict[str, type[np.floating[Any]]] = {"FLOAT": np.float32, "HALF": np.float16}
"""Types of inputs and outputs that are run, by TensorRT's names."""

_LANES = 2
_WARM_UP_RUNS = 3  # a library that records its graphs itself does so in one of the first runs


@dataclass(frozen=True)
class _Program:
    """One execution context, set to one batch size, and the graph of its work."""

    context: Any
    length: int
    graph: int | None = None


class EngineRunner:
    """Runs an engine. Used by the thread that opened the device.

    Parameters
    ----------
    engine
        With one input.
    source, results
        What it takes and what is wanted of it; the first axis is the batch.
    lengths
        Batch sizes to run, rising.
    unread
        What it gives as well: it is computed, and stays on the device.
    """

    def __init__(
        self,
        engine: LoadedEngine,
        device: Device,
        source: EngineTensor,
        results: tuple[EngineTensor, ...],
        lengths: tuple[int, ...],
        *,
        unread: tuple[EngineTensor, ...] = (),
    ) -> None:
        self._lengths, self._results = lengths, results
        self._lanes = [_Lane(engine, device, source, results, unread, lengths[-1]) for _ in range(_LANES)]
        for lane in self._lanes:
            for length in lengths:
                lane.prepare(length)

    def run(self, batch: FloatArray) -> dict[str, FloatArray]:
        """Run a batch of any length."""
        outputs = {r.name: np.empty((len(batch), *r.shape[1:]), np.float32) for r in self._results}
        under_way: deque[tuple[_Lane, Block]] = deque()
        try:
            for number, block in enumerate(blocks(len(batch), self._lengths)):
                if len(under_way) == _LANES:
                    _collect(*under_way.popleft(), outputs)
                lane = self._lanes[number % _LANES]
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


def _collect(lane: "_Lane", block: Block, outputs: dict[str, FloatArray]) -> None:
    for name, found in lane.finish(block.stop - block.start).items():
        outputs[name][block.start : block.stop] = found


class _Lane:
    def __init__(
        self,
        engine: LoadedEngine,
        device: Device,
        source: EngineTensor,
        results: tuple[EngineTensor, ...],
        unread: tuple[EngineTensor, ...],
        largest: int,
    ) -> None:
        self._engine, self._device = engine, device
        self._source, self._results = source, results
        self._stream = device.stream()
        self._host_in, self._address_in = self._buffers(source, largest)
        self._out = {result.name: self._buffers(result, largest) for result in results}
        # TensorRT wants an address for every output.
        self._unread = {tensor.name: self._memory(tensor, largest) for tensor in unread}
        self._scratch_size = engine.scratch_bytes
        self._scratch = device.memory(self._scratch_size) if self._scratch_size else 0
        self._programs: dict[int, _Program] = {}

    def _buffers(self, tensor: EngineTensor, length: int) -> tuple[AnyArray, int]:
        shape, dtype = (length, *tensor.shape[1:]), NUMPY_TYPES[tensor.dtype]
        return self._device.pinned(shape, dtype), self._memory(tensor, length)

    def _memory(self, tensor: EngineTensor, length: int) -> int:
        return self._device.memory(byte_count((length, *tensor.shape[1:]), NUMPY_TYPES[tensor.dtype]))

    def prepare(self, length: int) -> None:
        """Set up what runs a batch size, and run it."""
        program = _Program(self._context(length), length)
        self._host_in[:] = 0
        for _ in range(_WARM_UP_RUNS):
            self._queue(program)
            self._device.synchronize(self._stream)
        graph = None
        if not self._engine.records_graphs:
            try:
                graph = self._device.capture(self._stream, partial(self._queue, program))
            except Exception as error:  # of whichever package the device is
                logger.info("batches of %d run without a CUDA graph: %s", length, str(error))
        self._programs[length] = _Program(program.context, length, graph)

    def begin(self, part: FloatArray, length: int) -> None:
        """Queue the work on some slices, filled up to a batch."""
        self._host_in[: len(part)] = part  # to the type of the engine
        self._host_in[len(part) : length] = 0
        program = self._programs[length]
        if program.graph is None:
            self._queue(program)
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
            logger.debug("after a failure: %s", str(error))

    def close(self) -> None:
        """Let go."""
        self._programs.clear()
        self._out.clear()
        del self._host_in

    def _context(self, length: int) -> Any:  # noqa: ANN401 - an object of TensorRT, which comes without types
        context = self._engine.new_context()
        context.set_device_memory(self._scratch, self._scratch_size)
        shape = (length, *self._source.shape[1:])
        if not context.set_input_shape(self._source.name, shape):
            raise EngineFailure(f"TensorRT refused the shape {shape}: {self._engine.said()}")
        missing = context.infer_shapes()
        for result in self._results:
            given = tuple(context.get_tensor_shape(result.name))
            if missing or given != (length, *result.shape[1:]):
                raise EngineFailure(f"TensorRT gives {given} for {shape}, missing {list(missing)}")
        addresses = {name: address for name, (_, address) in self._out.items()} | self._unread
        for name, address in {self._source.name: self._address_in, **addresses}.items():
            if not context.set_tensor_address(name, address):
                raise EngineFailure(f"TensorRT refused the memory for {name}: {self._engine.said()}")
        return context

    def _queue(self, program: _Program) -> None:
        length = program.length
        self._device.copy_in(self._address_in, self._host_in[:length], self._stream)
        if not program.context.execute_async_v3(self._stream):
            raise EngineFailure(f"TensorRT could not queue the network: {self._engine.said()}")
        for host, address in self._out.values():
            self._device.copy_out(host[:length], address, self._stream)
