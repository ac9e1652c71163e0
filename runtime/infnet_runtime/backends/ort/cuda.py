"""ONNX Runtime on CUDA: fixed buffers, page-locked copies, and a CUDA graph where the model allows one."""

import hashlib
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from infnet_runtime.arrays import AnyArray, FloatArray
from infnet_runtime.backends.batching import blocks
from infnet_runtime.backends.cuda.device import Device, byte_count
from infnet_runtime.backends.cuda.driver import find_gpu
from infnet_runtime.backends.cuda.open import open_device
from infnet_runtime.backends.cuda.owner import OwnerThread, let_go
from infnet_runtime.backends.ort.cpu import CPU_PROVIDER, check_contract, create, run_plainly, session_options
from infnet_runtime.backends.ort.libraries import preload_libraries
from infnet_runtime.backends.session import DEFAULT_BATCH_SIZE, ClosedByBlock, Outputs, failed
from infnet_runtime.errors import BackendError, InfnetError, ModelError
from infnet_runtime.model.arithmetic import FLOAT16, FLOAT32, computed_in, form_of
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.coarse_logits import outputs_given
from infnet_runtime.model.recognise import recognised

logger = logging.getLogger(__name__)


CUDA_PROVIDER = "CUDAExecutionProvider"
_GRAPH = "CUDA graph"
# ONNX Runtime runs a model twice, for its memory, before it records the graph; the fourth run is a replay.
_WARM_UP_RUNS = 4
_MEMORY_FULL = ("out of memory", "failed to allocate memory", "alloc_failed")
_CUDA_LIBRARIES = ("cuda", "cudnn", "cublas")


class OrtCudaSession(ClosedByBlock):
    """A model in ONNX Runtime on a GPU; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Calls from several threads run one after another, in a thread of the session's own. Kernels are chosen by
    rule and not by measuring, and nothing is rounded to TF32, so that the same input gives the same bytes on
    the same machine.

    Parameters
    ----------
    batch_size
        Slices that run at once; shorter calls are filled up.
    coarse
        Give coarse logits in the place of the probabilities, where the file has them.
    asked
        Outputs that are given.

    Raises
    ------
    ModelError
        If the file is no ONNX model, has no manifest or other inputs and outputs than the contract.
    BackendError
        If CUDA cannot be used; there is no silent fall-back to the CPU.
    """

    def __init__(
        self,
        model: Path,
        *,
        index: int,
        threads: int,
        batch_size: int | None = None,
        coarse: bool = False,
        asked: Asked = Asked.EVERY,
    ) -> None:
        if CUDA_PROVIDER not in ort.get_available_providers():
            raise BackendError(
                f"device 'cuda' was asked for, the installed onnxruntime {ort.__version__} has no CUDA; "
                "pip uninstall onnxruntime, then pip install 'infnet[gpu]'",
                code=5011,
            )
        content = read_whole(model)
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        file = recognised(content, model).only(asked, model)
        self.manifest = file.manifest
        self.coarse = file.coarse if coarse else None
        self._outputs = outputs_given(self.manifest, self.coarse)
        form = form_of(content)
        self.precision = computed_in(form, FLOAT16 if form == FLOAT16 else FLOAT32)
        content = file.cut(content, self.coarse)
        self.device = f"cuda:{index}"
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self._device: Device | None = None
        self._bound: BoundSession | None = None
        self._session: Any = None
        self._owner = OwnerThread(self)
        try:
            self._owner.open(partial(self._open, content, model, index, threads))
        except BaseException:
            self.close()
            raise

    def _open(self, content: bytes, model: Path, index: int, threads: int) -> None:
        """With a CUDA graph if one can be recorded. A recording that failed lasts: all is made anew then."""
        missing = preload_libraries()
        for graph in (True, False):
            try:
                self._set_up(content, model, index, threads, graph=graph)
            except BackendError:
                raise
            except Exception as error:  # of ONNX Runtime or of the package for memory, which may be any
                let_go(error)
                self._free()
                if not graph:
                    raise _refusal(error, index, missing) from error
                logger.info("without a CUDA graph: %s", str(error))
            else:
                return

    def _set_up(self, content: bytes, model: Path, index: int, threads: int, *, graph: bool) -> None:
        device = self._device = _device_or_none(index)
        stream = None if device is None else device.stream()
        graph = graph and stream is not None
        provider = (CUDA_PROVIDER, provider_options(index, stream, graph=graph))
        self._session = create(content, model, session_options(threads), [provider, CPU_PROVIDER])
        if CUDA_PROVIDER not in self._session.get_providers():
            raise BackendError(
                f"device 'cuda:{index}' was asked for, ONNX Runtime could not use it and would run on the "
                "CPU; check the driver (r580 or newer), CUDA and cuDNN, or choose --device cpu",
                code=5012,
            )
        self._input = check_contract(self._session, self.manifest, model, self._outputs)
        spec = self.manifest.preprocess
        how = [CUDA_PROVIDER, *([_GRAPH] if graph else [])]
        if device is not None and stream is not None:
            how.append(device.name)
            self._bound = BoundSession(
                self._session,
                device,
                stream,
                source=(self._input, spec.input_shape),
                results=self._outputs,
                length=self.batch_size,
                place=("cuda", index),
            )
        self.backend = f"onnxruntime {ort.__version__} ({', '.join(how)})"
        # All memory is taken now and not at some slice, and the graph is recorded.
        for _ in range(_WARM_UP_RUNS if graph else 1):
            self._run(np.zeros((self.batch_size, *spec.input_shape), np.float32))

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        return self._owner.run(partial(self._run_or_tell, batch))

    def _run_or_tell(self, batch: FloatArray) -> Outputs:
        try:
            return self._run(batch)
        except Exception as error:  # its exceptions have no common base of their own
            raise failed(self, error) from error

    def _run(self, batch: FloatArray) -> Outputs:
        return self._run_plainly(batch) if self._bound is None else self._bound.run(batch)

    def _run_plainly(self, batch: FloatArray) -> Outputs:
        """Without a package for memory: ONNX Runtime copies itself."""
        parts: dict[str, list[FloatArray]] = {name: [] for name in self._outputs}
        for block in blocks(len(batch), (self.batch_size,)):
            filled = np.zeros((block.length, *batch.shape[1:]), np.float32)
            filled[: block.stop - block.start] = batch[block.start : block.stop]
            results = run_plainly(self._session, self._outputs, {self._input: filled})
            for name, result in results.items():
                parts[name].append(result[: block.stop - block.start])
        return {name: np.concatenate(part) for name, part in parts.items()}

    def close(self) -> None:
        """Free the GPU."""
        self._owner.close(self._free)

    def _free(self) -> None:
        """Give back what there is: what is bound, the session, and what both lie in, in this order."""
        if self._bound is not None:
            self._bound.close()
        self._bound = self._session = None
        held, self._device = self._device, None
        if held is not None:
            held.close()


class BoundSession:
    """A session of ONNX Runtime whose input and outputs stay at fixed addresses.

    Used by the thread that opened the device.

    Parameters
    ----------
    stream
        The queue that the session computes on.
    source, results
        Name and shape, without the batch, of the input and of each output.
    length
        Slices in a batch; every batch has this length, so that a CUDA graph stays valid.
    place
        ONNX Runtime's words for the memory of the device.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - untyped library
        device: Device,
        stream: int,
        *,
        source: tuple[str, tuple[int, ...]],
        results: Mapping[str, tuple[int, ...]],
        length: int,
        place: tuple[str, int],
    ) -> None:
        self._session, self._device, self._stream, self._length = session, device, stream, length
        self._binding: Any = session.io_binding()
        name, shape = source
        self._host_in, self._address_in = self._buffers((length, *shape))
        self._results = {name: self._buffers((length, *shape)) for name, shape in results.items()}
        self._binding.bind_input(name, *place, np.float32, self._host_in.shape, self._address_in)
        for name, (host, address) in self._results.items():
            self._binding.bind_output(name, *place, np.float32, host.shape, address)
        self._options = ort.RunOptions()
        # The stream is ours and we wait for it, once, after the copy out.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(self, batch: FloatArray) -> Outputs:
        """Run a batch of any length."""
        outputs = {
            name: np.empty((len(batch), *host.shape[1:]), np.float32)
            for name, (host, _) in self._results.items()
        }
        for block in blocks(len(batch), (self._length,)):
            n = block.stop - block.start
            self._host_in[:n] = batch[block.start : block.stop]
            self._host_in[n:] = 0
            self._device.copy_in(self._address_in, self._host_in, self._stream)
            self._session.run_with_iobinding(self._binding, self._options)
            for host, address in self._results.values():
                self._device.copy_out(host, address, self._stream)
            self._device.synchronize(self._stream)
            for name, (host, _) in self._results.items():
                outputs[name][block.start : block.stop] = host[:n]
        return outputs

    def close(self) -> None:
        """Let go of the page-locked memory; the rest is the device's."""
        self._binding = self._session = None
        self._results.clear()
        del self._host_in

    def _buffers(self, shape: tuple[int, ...]) -> tuple[AnyArray, int]:
        return (
            self._device.pinned(shape, np.float32),
            self._device.memory(byte_count(shape, np.float32)),
        )


def provider_options(index: int, stream: int | None, *, graph: bool) -> dict[str, str]:
    """Settings of the CUDA provider.

    Parameters
    ----------
    stream
        Queue to compute on; absent, ONNX Runtime takes one of its own.
    """
    options = {
        "device_id": str(index),
        "cudnn_conv_algo_search": "HEURISTIC",  # measured choices change from run to run, and with them bits
        "use_tf32": "0",
    }
    if stream is not None:
        options["user_compute_stream"] = str(stream)
        options["enable_cuda_graph"] = "1" if graph else "0"
    return options


def _refusal(error: Exception, index: int, missing: list[str]) -> InfnetError:
    """What is told of a session that could not be set up.

    Parameters
    ----------
    missing
        What ONNX Runtime said about CUDA's libraries.
    """
    of_the_model = isinstance(error, ModelError)
    said = " ".join(str(error.__cause__ if of_the_model else error).split())
    if any(words in said.lower() for words in _MEMORY_FULL) or not isinstance(error, InfnetError):
        return BackendError(
            f"ONNX Runtime could not be set up on cuda:{index} ({said}); the GPU's memory may be full, see "
            "nvidia-smi; a smaller --batch-size needs less",
            code=5025,
        )
    if any(library in said.lower() for library in _CUDA_LIBRARIES):
        return BackendError(
            f"device 'cuda:{index}' was asked for, ONNX Runtime could not use it "
            f"({'; '.join([said, *missing])}); see nvidia-smi, or choose --device cpu",
            code=5012,
        )
    return error


def _device_or_none(index: int) -> Device | None:
    """The GPU's memory, through whichever package is there."""
    try:
        find_gpu(index)
        return open_device(index)
    except BackendError as error:
        # No driver: ONNX Runtime will not come up either, and that is told then.
        if error.code not in (5021, 5024):
            raise
        logger.info("copies are not page-locked: %s", str(error))
        return None
