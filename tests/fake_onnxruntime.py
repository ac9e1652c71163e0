"""ONNX Runtime's CPU provider that says it is CUDA, on a plain device: everything but the GPU.

It treats threads and graphs as the CUDA provider does (``cuda_execution_provider.cc``): a context for each
thread that calls, which counts two plain runs and records the graph in the third. A failure to record stays.
"""

import threading
from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest

from infnet_runtime.backends.ort import cuda as ort_cuda
from plain_device import OutOfMemory, PlainDevice, PlainGpu

REAL = onnxruntime.InferenceSession
PLAIN_RUNS = 2  # min_num_runs_before_cuda_graph_capture_
ARENA = 1 << 20  # bytes that the first run takes


class FakeCuda:
    """What the sessions of a test share. ``broken``: runs fail. ``refuses_graph``: no session with a graph.

    ``capture_fails``: the recording fails. ``fails_with``: no session at all.
    """

    def __init__(self, index: int = 1) -> None:
        self.index, self.gpu = index, PlainGpu()
        self.broken = self.refuses_graph = self.capture_fails = False
        self.fails_with = ""
        self.batches: list[int] = []
        self.recorded_in: list[int] = []
        self.settings: list[dict[str, str]] = []

    @property
    def device(self) -> PlainDevice:
        return self.gpu.devices[-1]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def session(content: bytes, options: Any, providers: list[Any]) -> FakeSession:  # noqa: ANN401
            return FakeSession(self, content, options, providers)

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda **options: None)
        monkeypatch.setattr(ort_cuda, "find_gpu", lambda index: None)
        monkeypatch.setattr(ort_cuda, "open_device", self.gpu.open)


class FakeSession:
    def __init__(self, here: FakeCuda, content: bytes, options: Any, providers: list[Any]) -> None:  # noqa: ANN401
        (name, settings), *_ = providers
        assert name == "CUDAExecutionProvider"
        here.settings.append(settings)
        self._here, self._arena = here, 0
        self._device = here.gpu.devices[-1] if here.gpu.devices else None
        self._graph = settings.get("enable_cuda_graph") == "1"
        self._runs: Counter[int] = Counter()  # of each thread, whose context is never given back with graphs
        self._lost = False
        if here.fails_with:
            raise RuntimeError(here.fails_with)
        if here.refuses_graph and self._graph:
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        self._stream = int(settings.get("user_compute_stream", 0))
        self._real = REAL(content, options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        return getattr(self._real, name)

    def __del__(self) -> None:
        self._here.gpu.give_back(self._arena)
        self._here.gpu.diary.append("session destroyed")

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self) -> "FakeBinding":
        return FakeBinding(self._here, self._real.io_binding())

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert not self._graph, "a graph needs memory that stays where it is"
        self._begin(*(len(v) for v in inputs.values()))
        return list(self._real.run(names, inputs))

    def run_with_iobinding(self, binding: "FakeBinding", options: Any) -> None:  # noqa: ANN401 - untyped library
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        self._begin(binding.length)
        real, own = self._real, binding.real
        assert self._device is not None
        self._device.queue(self._stream, lambda: real.run_with_iobinding(own))

    def _begin(self, length: int) -> None:
        here, thread = self._here, threading.get_ident()
        if here.broken or self._lost:
            raise RuntimeError("CUDA failure 700")
        if not self._arena:
            try:
                here.gpu.take(ARENA)
            except OutOfMemory:
                raise RuntimeError(
                    "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"
                ) from None
            self._arena = ARENA
        self._runs[thread] += 1
        if self._graph and self._runs[thread] == PLAIN_RUNS + 1:
            if here.capture_fails:
                self._lost = True
                raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
            here.recorded_in.append(thread)
        here.batches.append(length)


class FakeBinding:
    """Addresses of the device are those of the process here."""

    def __init__(self, here: FakeCuda, real: Any) -> None:  # noqa: ANN401 - untyped library
        self._here, self.real, self.length = here, real, 0

    def __del__(self) -> None:
        self._here.gpu.diary.append("binding destroyed")

    def bind_input(self, name: str, place: str, index: int, *rest: Any) -> None:  # noqa: ANN401
        assert (place, index) == ("cuda", self._here.index)
        self.length = rest[1][0]
        self.real.bind_input(name, "cpu", 0, *rest)

    def bind_output(self, name: str, place: str, index: int, *rest: Any) -> None:  # noqa: ANN401
        assert (place, index) == ("cuda", self._here.index)
        self.real.bind_output(name, "cpu", 0, *rest)
