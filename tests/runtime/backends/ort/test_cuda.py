"""ONNX Runtime on CUDA, with its CPU provider and plain memory in the GPU's place: everything but the GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from infnet_runtime.backends import open_session
from infnet_runtime.backends.ort import cuda as ort_cuda
from infnet_runtime.backends.ort.cuda import OrtCudaSession, provider_options
from infnet_runtime.backends.session import run_checked
from infnet_runtime.errors import BackendError, GateError, ModelError
from plain_device import PlainDevice
from tiny_models import KINDS, SIZE, alone, mid_grey_detector, two_outputs

REAL = onnxruntime.InferenceSession


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3, SIZE, SIZE), np.float32)


class OnPlainMemory:
    """A session that says it is on CUDA. Its work is queued on the device, as that of a GPU would be."""

    device: PlainDevice
    refuse_graph = False
    fails_with = ""

    def __init__(self, content: bytes, options: Any, providers: list[Any]) -> None:  # noqa: ANN401 - untyped
        (name, self.settings), *_ = providers
        assert name == "CUDAExecutionProvider"
        if self.fails_with:
            raise RuntimeError(self.fails_with)
        if self.refuse_graph and self.settings.get("enable_cuda_graph") == "1":
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        self._real = REAL(content, options, providers=["CPUExecutionProvider"])
        self.batches: list[int] = []
        self.broken = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - untyped library
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self) -> "_Binding":
        return _Binding(self._real.io_binding())

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.batches += [len(v) for v in inputs.values()]
        return list(self._real.run(names, inputs))

    def run_with_iobinding(self, binding: "_Binding", options: Any) -> None:  # noqa: ANN401 - untyped library
        if self.broken:
            raise RuntimeError("CUDA failure 700")
        key = "disable_synchronize_execution_providers"
        assert options.get_run_config_entry(key) == "1"
        self.batches.append(binding.length)
        self.device.queue(
            int(self.settings["user_compute_stream"]), lambda: self._real.run_with_iobinding(binding.real)
        )


class _Binding:
    """Addresses of the device are those of the process here."""

    def __init__(self, real: Any) -> None:  # noqa: ANN401 - untyped library
        self.real, self.length = real, 0

    def bind_input(self, name: str, place: str, index: int, *rest: Any) -> None:  # noqa: ANN401
        assert (place, index) == ("cuda", 1)
        self.length = rest[1][0]
        self.real.bind_input(name, "cpu", 0, *rest)

    def bind_output(self, name: str, place: str, index: int, *rest: Any) -> None:  # noqa: ANN401
        assert (place, index) == ("cuda", 1)
        self.real.bind_output(name, "cpu", 0, *rest)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[OnPlainMemory]:
    class Here(OnPlainMemory):
        device = PlainDevice()

    monkeypatch.setattr(onnxruntime, "InferenceSession", Here)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort_cuda, "find_gpu", lambda index: None)
    monkeypatch.setattr(ort_cuda, "open_device", lambda index: Here.device)
    return Here


def reference(model: Path, batch: np.ndarray) -> np.ndarray:
    session = REAL(model.read_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def test_slices_go_through_fixed_buffers(model: Path, gpu: type[OnPlainMemory]) -> None:
    with open_session(model, device="cuda:1", batch_size=3) as session:
        assert isinstance(session, OrtCudaSession)
        assert session.device == "cuda:1"
        name = f"onnxruntime {onnxruntime.__version__} (CUDAExecutionProvider, CUDA graph, plain memory)"
        assert session.backend == name
        for n in (1, 3, 7, 2):
            assert np.array_equal(alone(session, noise(n, n)), reference(model, noise(n, n)))
        assert set(session._session.batches) == {3}, "a ragged batch has another shape: a graph would break"
        assert len(session._session.batches) == 1 + 1 + 3 + 1
    assert gpu.device.closed
    with pytest.raises(RuntimeError, match="the session is closed"):
        alone(session, noise(1))


def test_several_outputs_have_buffers_of_their_own(
    tmp_path: Path, gpu: type[OnPlainMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = two_outputs(tmp_path / "two.onnx")
    real = REAL(model.read_bytes(), providers=["CPUExecutionProvider"])

    def check() -> None:
        with open_session(model, device="cuda:1", batch_size=3) as session:
            for n in (1, 7):
                found = run_checked(session, noise(n, n))
                assert set(found) == {"infection_probability", KINDS.name}
                for name, values in found.items():
                    (expected,) = real.run([name], {"slices": noise(n, n)})
                    assert np.array_equal(values, np.clip(expected, 0, 1)), name
                    assert values.shape[:2] == (n, {KINDS.name: 3}.get(name, 1))

    check()
    assert gpu.device.closed

    def neither(index: int) -> PlainDevice:
        raise BackendError("neither is installed", code=5024)

    monkeypatch.setattr(ort_cuda, "open_device", neither)
    check()


def test_filling_does_not_leak_from_the_call_before(model: Path, gpu: type[OnPlainMemory]) -> None:
    with open_session(model, device="cuda:1", batch_size=4) as session:
        alone(session, np.full((4, 3, SIZE, SIZE), np.nan, np.float32))
        assert np.isfinite(alone(session, noise(2))).all()


def test_a_model_that_takes_no_graph_runs_without(
    model: Path, gpu: type[OnPlainMemory], caplog: pytest.LogCaptureFixture
) -> None:
    gpu.refuse_graph = True
    with caplog.at_level("INFO"), open_session(model, device="cuda:1") as session:
        assert "CUDA graph" not in session.backend
        assert np.array_equal(alone(session, noise(2)), reference(model, noise(2)))
    assert "without a CUDA graph" in caplog.text
    assert "cannot use the graph capture feature" in caplog.text


def test_without_a_package_for_memory_the_batches_are_filled_up_too(
    model: Path, gpu: type[OnPlainMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    def neither(index: int) -> PlainDevice:
        raise BackendError("neither is installed", code=5024)

    monkeypatch.setattr(ort_cuda, "open_device", neither)
    with open_session(model, device="cuda:1") as session:
        assert isinstance(session, OrtCudaSession)
        assert session.backend.endswith("(CUDAExecutionProvider)")
        assert np.array_equal(alone(session, noise(6)), reference(model, noise(6)))
        assert session._session.batches == [4, 4]


def test_a_failure_is_told_and_the_gpu_is_given_back(model: Path, gpu: type[OnPlainMemory]) -> None:
    with open_session(model, device="cuda:1") as session:
        assert isinstance(session, OrtCudaSession)
        session._session.broken = True
        with pytest.raises(
            GateError, match=r"\[INF-7021\] onnxruntime .* failed on cuda:1: CUDA failure 700"
        ):
            alone(session, noise(1))
    assert gpu.device.closed


def test_cuda_that_fails_is_no_damaged_model(model: Path, gpu: type[OnPlainMemory]) -> None:
    gpu.fails_with = "CUDA failure 2: out of memory"
    with pytest.raises(
        BackendError, match=r"\[INF-5012\] .*could not use it \(CUDA failure 2: out of memory\)"
    ):
        open_session(model, device="cuda:1")
    assert gpu.device.closed


def test_a_damaged_model_is_no_failure_of_cuda(tmp_path: Path, gpu: type[OnPlainMemory]) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(ModelError, match=r"\[INF-4031\]"):
        open_session(path, device="cuda:1")


def test_kernels_are_chosen_by_rule() -> None:
    assert provider_options(2, 77, graph=True) == {
        "device_id": "2",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "user_compute_stream": "77",
        "enable_cuda_graph": "1",
    }
    assert "enable_cuda_graph" not in provider_options(0, None, graph=False)
