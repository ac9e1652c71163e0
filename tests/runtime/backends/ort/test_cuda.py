"""ONNX Runtime on CUDA, with its CPU provider and plain memory in the GPU's place: everything but the GPU."""

import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fake_onnxruntime import ARENA, REAL, FakeCuda
from infnet_runtime.backends import open_session
from infnet_runtime.backends.ort import cuda as ort_cuda
from infnet_runtime.backends.ort.cuda import OrtCudaSession, provider_options
from infnet_runtime.backends.session import run_checked
from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.specs import CLASS_OUTPUT
from plain_device import PlainDevice
from tiny_models import KINDS, SIZE, alone, classes_detector, mid_grey_detector, two_outputs


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3, SIZE, SIZE), np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    here = FakeCuda()
    here.install(monkeypatch)
    return here


def reference(model: Path, batch: np.ndarray) -> np.ndarray:
    session = REAL(model.read_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def test_slices_go_through_fixed_buffers(model: Path, gpu: FakeCuda) -> None:
    with open_session(model, device="cuda:1", batch_size=3) as session:
        assert isinstance(session, OrtCudaSession)
        assert session.device == "cuda:1"
        name = f"onnxruntime {onnxruntime.__version__} (CUDAExecutionProvider, CUDA graph, plain memory)"
        assert session.backend == name
        gpu.batches.clear()
        for n in (1, 3, 7, 2):
            assert np.array_equal(alone(session, noise(n, n)), reference(model, noise(n, n)))
        assert set(gpu.batches) == {3}, "a ragged batch has another shape: a graph would break"
        assert len(gpu.batches) == 1 + 1 + 3 + 1
    assert gpu.device.closed
    with pytest.raises(ModelError, match="INF-4080.*the session is closed"):
        alone(session, noise(1))


@pytest.mark.parametrize("asked", list(Asked))
def test_the_gpu_computes_what_is_asked_for(
    tmp_path: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    model = classes_detector(tmp_path / "classes.onnx")
    real = REAL(model.read_bytes(), providers=["CPUExecutionProvider"])

    def check() -> None:
        with open_session(model, device="cuda:1", batch_size=3, asked=asked) as session:
            found = run_checked(session, noise(7))
            assert set(found) == {o.name for o in session.manifest.outputs}
            assert (CLASS_OUTPUT.name in found) == (asked is not Asked.INFECTION)
            for name, values in found.items():
                (expected,) = real.run([name], {"slices": noise(7)})
                assert np.array_equal(values, np.clip(expected, 0, 1)), name

    check()
    assert gpu.device.closed

    def neither(index: int) -> PlainDevice:
        raise BackendError("neither is installed", code=5024)

    monkeypatch.setattr(ort_cuda, "open_device", neither)
    check()


def test_several_outputs_have_buffers_of_their_own(
    tmp_path: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
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


def test_filling_does_not_leak_from_the_call_before(model: Path, gpu: FakeCuda) -> None:
    with open_session(model, device="cuda:1", batch_size=4) as session:
        alone(session, np.full((4, 3, SIZE, SIZE), np.nan, np.float32))
        assert np.isfinite(alone(session, noise(2))).all()


def test_a_model_that_takes_no_graph_runs_without(
    model: Path, gpu: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.refuses_graph = True
    with caplog.at_level("INFO"), open_session(model, device="cuda:1") as session:
        assert "CUDA graph" not in session.backend
        assert np.array_equal(alone(session, noise(2)), reference(model, noise(2)))
    assert "without a CUDA graph" in caplog.text
    assert "cannot use the graph capture feature" in caplog.text


def test_without_a_package_for_memory_the_batches_are_filled_up_too(
    model: Path, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def neither(index: int) -> PlainDevice:
        raise BackendError("neither is installed", code=5024)

    monkeypatch.setattr(ort_cuda, "open_device", neither)
    with open_session(model, device="cuda:1") as session:
        assert isinstance(session, OrtCudaSession)
        assert session.backend.endswith("(CUDAExecutionProvider)")
        assert np.array_equal(alone(session, noise(6)), reference(model, noise(6)))
        assert gpu.batches == [4, 4, 4], "one to take all memory at opening, and two"


def test_a_failure_is_told_and_the_gpu_is_given_back(model: Path, gpu: FakeCuda) -> None:
    with open_session(model, device="cuda:1") as session:
        assert isinstance(session, OrtCudaSession)
        gpu.broken = True
        with pytest.raises(
            GateError, match=r"\[INF-7021\] onnxruntime .* failed on cuda:1: CUDA failure 700"
        ):
            alone(session, noise(1))
    assert gpu.device.closed


def test_cuda_that_fails_is_no_damaged_model(model: Path, gpu: FakeCuda) -> None:
    gpu.fails_with = "CUDNN failure 1001: NOT_INITIALIZED"
    with pytest.raises(BackendError, match=r"\[INF-5012\] .*could not use it \(CUDNN failure 1001"):
        open_session(model, device="cuda:1")
    assert all(device.closed for device in gpu.gpu.devices)


def test_several_threads_share_one_that_records(model: Path, gpu: FakeCuda) -> None:
    """ONNX Runtime would record a graph in each thread, over the same buffers, and never let go of one."""
    wrong: list[int] = []

    def use(seed: int) -> None:
        for n in (5, 1, 9):
            batch = noise(n, seed)
            if not np.array_equal(alone(session, batch), reference(model, batch)):
                wrong.append(seed)

    with open_session(model, device="cuda:1") as session:
        recorded = list(gpu.recorded_in)
        assert len(recorded) == 1, "the graph is recorded when the session opens"
        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert gpu.recorded_in == recorded


def test_a_graph_that_cannot_be_recorded(
    model: Path, gpu: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.capture_fails = True
    with caplog.at_level("INFO"), open_session(model, device="cuda:1") as session:
        assert "CUDA graph" not in session.backend
        assert [s["enable_cuda_graph"] for s in gpu.settings] == ["1", "0"]
        assert gpu.gpu.devices[0].closed, "what failed is given back before the next try"
        for n in (2, 9):
            assert np.array_equal(alone(session, noise(n)), reference(model, noise(n)))
    assert "without a CUDA graph: CUDA failure 900" in caplog.text


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("capture_fails", [False, True])
def test_close_order(model: Path, gpu: FakeCuda, capture_fails: bool) -> None:
    gpu.capture_fails = capture_fails
    session = open_session(model, device="cuda:1")
    alone(session, noise(3))
    session.close()
    session.close()
    once = ["binding destroyed", "session destroyed", "device closed"]
    assert gpu.gpu.diary == once * (2 if capture_fails else 1)
    assert gpu.gpu.used == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("size", [0, 10_000, ARENA - 1])
def test_memory_that_is_full_at_opening(model: Path, gpu: FakeCuda, size: int) -> None:
    gpu.gpu.size = size
    with pytest.raises(
        BackendError, match=r"\[INF-5025\] .*on cuda:1 .*memory.* smaller --batch-size"
    ) as told:
        open_session(model, device="cuda:1")
    # While somebody still holds the exception.
    assert isinstance(told.value, BackendError)
    assert all(device.closed for device in gpu.gpu.devices)
    assert gpu.gpu.used == 0


def test_memory_that_a_session_cannot_be_made_in(model: Path, gpu: FakeCuda) -> None:
    gpu.fails_with = "CUDA failure 2: out of memory"
    with pytest.raises(BackendError, match=r"\[INF-5025\] .*CUDA failure 2: out of memory.*smaller --batch"):
        open_session(model, device="cuda:1")
    assert all(device.closed for device in gpu.gpu.devices)


@pytest.mark.usefixtures("no_collector")
def test_what_fails_in_a_call_holds_nothing(model: Path, gpu: FakeCuda) -> None:
    session = open_session(model, device="cuda:1")
    gpu.broken = True
    with pytest.raises(GateError) as told:
        alone(session, noise(1))
    session.close()
    assert isinstance(told.value, GateError)
    assert gpu.gpu.diary == ["binding destroyed", "session destroyed", "device closed"]


@pytest.mark.usefixtures("gpu")
def test_a_damaged_model_is_no_failure_of_cuda(tmp_path: Path) -> None:
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
