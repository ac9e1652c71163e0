"""The file of the lung network: which is taken, what is refused, and that backends agree."""

from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.backends import lungs as module
from infnet_runtime.backends.candidates import ONNXRUNTIME, OPENVINO
from infnet_runtime.backends.lungs import AUTO, NETWORK, THRESHOLD, LungNetwork, lung_network
from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.lungs.contract import LungSpec
from tiny_models import dark_is_lung, mid_grey_detector

SIZE = LungSpec().size


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = dark_is_lung(tmp_path / "lungs.onnx")
    monkeypatch.setenv("INFNET_LUNG_MODEL", str(path))
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFNET_LUNG_MODEL", raising=False)
    monkeypatch.setattr(module, "lung_model", lambda: None)


def batch(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((n, 3, SIZE, SIZE), np.float32)


@pytest.mark.parametrize("backend", [ONNXRUNTIME, OPENVINO])
def test_it_is_opened_at_the_first_run_and_gives_probabilities(model: Path, backend: str) -> None:
    pytest.importorskip(backend)
    with LungNetwork(model, backend) as network:
        assert network._run is None
        assert network.name == "dark-is-lung 1"
        found = network.run(batch())
    dark = (batch()[:, 1] > 0.06) & (batch()[:, 1] < 0.4)
    assert (found.dtype, found.shape) == (np.float32, (3, 2, SIZE, SIZE))
    assert np.array_equal(found[:, 0, :, : SIZE // 2], dark[:, :, : SIZE // 2])
    assert np.array_equal(found[:, 1, :, SIZE // 2 :], dark[:, :, SIZE // 2 :])
    assert not found[:, 0, :, SIZE // 2 :].any()


def test_a_result_outlives_the_next_run(model: Path) -> None:
    pytest.importorskip(OPENVINO)
    with LungNetwork(model, OPENVINO) as network:
        first = network.run(batch())
        kept = first.copy()
        network.run(1 - batch())
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    ("beside", "taken"),
    [("onnxruntime 1.32.0 (CPUExecutionProvider)", ONNXRUNTIME), ("openvino 2026.4.1 (CPU, f32)", OPENVINO)],
)
def test_the_backend_of_the_main_model_is_taken(model: Path, beside: str, taken: str) -> None:
    pytest.importorskip(taken)
    network = lung_network(beside=beside)
    assert network is not None
    assert network.backend == taken


def test_threshold_opens_nothing(model: Path) -> None:
    assert lung_network(THRESHOLD) is None
    model.write_bytes(b"no longer a model")
    assert lung_network(THRESHOLD) is None
    with pytest.raises(ModelError, match="no ONNX file"):  # never a silent fall-back
        lung_network(AUTO)


def test_without_a_file_auto_does_without_and_network_is_refused(no_model: None) -> None:
    assert lung_network(AUTO) is None
    with pytest.raises(ModelError, match="no infnet.lungs.onnx was shipped") as refused:
        lung_network(NETWORK)
    assert refused.value.code == 4035


def test_without_a_backend_for_the_cpu_likewise(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda _: False)
    assert lung_network(AUTO) is None
    with pytest.raises(BackendError, match="nothing is installed that runs the network") as refused:
        lung_network(NETWORK)
    assert refused.value.code == 5034


def test_another_word_is_refused() -> None:
    with pytest.raises(BackendError, match="'thresholds' are not known, expected auto, network") as refused:
        lung_network("thresholds")
    assert refused.value.code == 5033


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("missing", 4030, "no lung network at"),
        ("cut", 4031, "no ONNX file, or cut off"),
        ("main model", 4020, "no lung network of infnet"),
        ("manifest", 4021, "manifest of the lung network"),
        ("channels", 4033, r"'lungs' float32 \(n, 3, 160, 160\), its manifest promises"),
    ],
)
def test_what_is_no_lung_network_is_refused(tmp_path: Path, kind: str, code: int, message: str) -> None:
    path = tmp_path / "lungs.onnx"
    if kind == "cut":
        path.write_bytes(dark_is_lung(path).read_bytes()[:-20])
    elif kind == "main model":
        mid_grey_detector(path)
    elif kind == "manifest":
        dark_is_lung(path, metadata="{}")
    elif kind == "channels":
        dark_is_lung(path, outputs=3)
    with pytest.raises(ModelError, match=message) as refused:
        LungNetwork(path, ONNXRUNTIME)
    assert refused.value.code == code


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_what_are_no_probabilities_are_refused(tmp_path: Path, factor: float) -> None:
    pytest.importorskip(ONNXRUNTIME)
    with (
        LungNetwork(dark_is_lung(tmp_path / "lungs.onnx", factor=factor), ONNXRUNTIME) as network,
        pytest.raises(GateError, match="no probabilities") as refused,
    ):
        network.run(batch())
    assert refused.value.code == 7020


def test_what_a_backend_cannot_run_is_an_error_of_infnet(model: Path) -> None:
    pytest.importorskip(ONNXRUNTIME)
    with (
        LungNetwork(model, ONNXRUNTIME) as network,
        pytest.raises(GateError, match="failed on the lung network") as refused,
    ):
        network.run(np.zeros((1, 2, SIZE, SIZE), np.float32))
    assert refused.value.code == 7021


def test_after_close_nothing_runs(model: Path) -> None:
    network = LungNetwork(model, ONNXRUNTIME)
    network.close()
    network.close()
    with pytest.raises(ModelError) as refused:
        network.run(batch())
    assert refused.value.code == 4080
