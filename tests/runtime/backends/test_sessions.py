"""Models and devices: what is asked for is used or refused, and what comes back is checked."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import infnet_runtime.backends.candidates as candidates_module
import infnet_runtime.backends.open as open_module
import infnet_runtime.model.shipped as shipped_module
from infnet_runtime.backends import open_session
from infnet_runtime.backends.candidates import candidates
from infnet_runtime.backends.open import open_chosen
from infnet_runtime.backends.openvino import load_openvino
from infnet_runtime.backends.ort import cuda as ort_cuda
from infnet_runtime.backends.ort.cpu import CPU_PROVIDER, create, session_options
from infnet_runtime.backends.session import infection_probability, run_checked
from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.model.external_weights import weights_elsewhere
from infnet_runtime.model.shipped import default_model
from infnet_runtime.segment.sampled import phantom_input
from plain_device import PlainDevice
from tiny_models import MANIFEST, SIZE, TWO_OUTPUTS, alone, mid_grey_detector, two_outputs

BATCH = np.zeros((2, 3, SIZE, SIZE), np.float32)

# Largest distance of probabilities between two CPU backends in single precision. On the shipped model and
# noise it was 2.2e-6; the tiny model multiplies the rounding of its input by 200.
SHIPPED_TOLERANCE, TINY_TOLERANCE = 2e-5, 2e-4


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def noise(n: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3, size, size), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


def test_session_tells_what_it_is(model: Path) -> None:
    with open_session(model, backend="onnxruntime", device="cpu", threads=1) as session:
        assert session.manifest == MANIFEST
        assert session.device == "cpu"
        assert re.fullmatch(r"onnxruntime \S+ \(CPUExecutionProvider\)", session.backend)
        assert session.model_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
        output = infection_probability(session, BATCH)
    assert output.shape == (2, SIZE, SIZE)
    assert output.dtype == np.float32


def test_several_outputs_are_run_and_checked(tmp_path: Path, backend: str) -> None:
    path = two_outputs(tmp_path / "two.onnx")
    with open_session(path, backend=backend, device="cpu", threads=1) as session:
        assert session.manifest == TWO_OUTPUTS
        found = run_checked(session, noise(5))
        infection = infection_probability(session, noise(5))
    assert {name: values.shape[:2] for name, values in found.items()} == {
        "infection_probability": (5, 1),
        "kind_probability": (5, 3),
    }
    assert np.array_equal(found["infection_probability"][:, 0], infection)
    p = found["infection_probability"]
    logits = np.exp(np.concatenate([p * 0, p, -p], axis=1))
    np.testing.assert_allclose(
        found["kind_probability"], logits / logits.sum(axis=1, keepdims=True), atol=TINY_TOLERANCE
    )


def test_the_infection_beside_another_output_is_the_same_to_the_bit(model: Path, tmp_path: Path) -> None:
    path = two_outputs(tmp_path / "two.onnx")
    with open_session(model, device="cpu") as one, open_session(path, device="cpu") as two:
        assert np.array_equal(infection_probability(one, noise(3)), infection_probability(two, noise(3)))


def test_classes_that_exclude_each_other_sum_to_1(tmp_path: Path, backend: str) -> None:
    path = two_outputs(tmp_path / "two.onnx", sum_of_kinds=0.9)
    told = r"\[INF-7020\] probabilities of 'kind_probability' .* off 1 by up to 0.1;"
    with (
        open_session(path, backend=backend, device="cpu") as session,
        pytest.raises(GateError, match=told),
    ):
        run_checked(session, BATCH)


def test_an_output_that_is_missing_is_named(tmp_path: Path) -> None:
    lacking = mid_grey_detector(tmp_path / "lacking.onnx", manifest=TWO_OUTPUTS.to_json())
    told = r"\[INF-4033\] .* \(n, 3, 192, 192\) and 'kind_probability', 'infection_probability'; export"
    with pytest.raises(ModelError, match=told):
        open_session(lacking)
    with open_session(two_outputs(tmp_path / "two.onnx"), device="cpu") as session:

        class Half:
            backend, device, manifest, model_sha256 = "half", "cpu", session.manifest, ""
            coarse = None

            def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
                return {"infection_probability": np.zeros((2, 1, SIZE, SIZE), np.float32)}

        with pytest.raises(ModelError, match="'half' returned nothing as 'kind_probability'; export the"):
            run_checked(Half(), BATCH)  # type: ignore[arg-type]


def test_auto_says_what_it_chose(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), open_session(model, precision="f32") as session:
        assert (
            f"device auto: {session.device}; backend auto: {session.backend}; model model.onnx" in caplog.text
        )
    with caplog.at_level("INFO"), open_session(model, device="cpu", backend="onnxruntime"):
        assert len(caplog.records) == 1, "what was asked for by name is no news"


def test_auto_says_why_not_the_ones_before(
    model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver(index: int = 0) -> None:
        raise BackendError("there is no NVIDIA driver here", code=5021)

    monkeypatch.setattr(open_module, "find_gpu", no_driver)
    with caplog.at_level("INFO"), open_session(model):
        assert "not onnxruntime on cuda:0: there is no NVIDIA driver here" in caplog.text


@pytest.mark.parametrize(
    ("machine", "cpu"),
    [
        ("x86_64", ["openvino on cpu", "onnxruntime on cpu"]),
        ("AMD64", ["openvino on cpu", "onnxruntime on cpu"]),  # as Windows says it
        ("aarch64", ["onnxruntime on cpu", "openvino on cpu"]),
        ("arm64", ["onnxruntime on cpu", "openvino on cpu"]),
    ],
)
def test_the_order_of_auto(machine: str, cpu: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def named(**options: str) -> list[str]:
        return [str(c) for c in candidates(None, **options)]

    installed = {"onnxruntime", "openvino"}
    monkeypatch.setattr(candidates_module, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(candidates_module.platform, "machine", lambda: machine)
    assert named() == ["onnxruntime on cuda:0", *cpu]
    assert named(device="cpu") == cpu
    assert named(device="cuda:2") == ["onnxruntime on cuda:2"]
    assert named(backend="onnxruntime") == ["onnxruntime on cuda:0", "onnxruntime on cpu"]
    assert named(backend="openvino") == ["openvino on cpu"]
    assert named(backend="onnxruntime", device="cpu") == ["onnxruntime on cpu"]
    installed.remove("openvino")
    assert named() == ["onnxruntime on cuda:0", "onnxruntime on cpu"]
    installed.symmetric_difference_update({"onnxruntime", "openvino"})
    assert named() == ["openvino on cpu"]
    with pytest.raises(BackendError, match=r"\[INF-5010\] ONNX Runtime is missing: pip install"):
        named(device="cuda")
    installed.clear()
    for device in ("auto", "cpu"):
        with pytest.raises(
            BackendError, match=r"\[INF-5031\] nothing is installed that runs .*'infnet\[cpu\]"
        ):
            named(device=device)
    with pytest.raises(BackendError, match=r"\[INF-5010\] ONNX Runtime is missing: .*'infnet\[gpu\]'"):
        named(device="cuda")


def both_installed() -> None:
    for name in ("openvino", "onnxruntime"):
        pytest.importorskip(name)


@pytest.fixture
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of x86, wherever the tests run."""
    monkeypatch.setattr(candidates_module.platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("x86")
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda: {"openvino": None}, "OpenVINO cannot be loaded (import of openvino halted"),
        (lambda: {"openvino": ModuleType("openvino")}, "OpenVINO cannot be loaded (found of unknown version"),
        (
            lambda: {"openvino": without_plug_in()},
            "OpenVINO cannot be loaded (no libopenvino_intel_cpu_plugin.so)",
        ),
    ],
    ids=["no libraries", "an old version", "no plug-in"],
)
def test_auto_goes_on_where_openvino_cannot_be_loaded(
    broken: Callable[[], dict[str, Any]],
    told: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It warns, since what comes next may be slower, and says so in what the report keeps."""
    both_installed()
    for name, module in broken().items():
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(candidates_module, "find_spec", lambda name: name)
    session, choice = open_chosen(model, device="cpu")
    with session:
        assert session.backend.startswith("onnxruntime ")
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert warning.startswith(f"not openvino on cpu: {told}")
    assert warning.endswith("; going on with onnxruntime on cpu")
    assert f"backend auto: {session.backend}; model model.onnx; " in choice
    assert f"; not openvino on cpu: {told}" in choice
    with pytest.raises(BackendError, match=r"\[INF-5015\] OpenVINO cannot be loaded"):
        open_session(model, backend="openvino")


def without_plug_in() -> ModuleType:
    """OpenVINO whose plug-in for the CPU lacks a library: that shows when it is asked, and not before."""

    class Core:
        def get_property(self, *_: str) -> str:
            raise RuntimeError("no libopenvino_intel_cpu_plugin.so")

    module = ModuleType("openvino")
    module.Core = Core  # type: ignore[attr-defined]
    return module


@pytest.mark.usefixtures("x86")
def test_auto_goes_on_where_openvino_does_not_take_a_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    both_installed()
    openvino = load_openvino()

    def refuses(*_: object) -> None:
        raise RuntimeError("not supported here")

    monkeypatch.setattr(openvino.Core, "compile_model", refuses)
    with open_session(model, device="cpu", cache=False) as session:
        assert session.backend.startswith("onnxruntime ")
    assert "not openvino on cpu: " in caplog.text
    assert "not supported here" in caplog.text
    with pytest.raises(ModelError, match="not supported here"):
        open_session(model, backend="openvino", cache=False)


@pytest.mark.usefixtures("x86")
def test_a_damaged_model_is_refused_by_the_last(tmp_path: Path) -> None:
    both_installed()
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(ModelError) as by_auto:
        open_session(path, device="cpu")
    with pytest.raises(ModelError) as by_name:
        open_session(path, device="cpu", backend="onnxruntime")
    assert str(by_auto.value) == str(by_name.value)


def test_onnxruntime_that_cannot_be_loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    for name in [n for n in sys.modules if n.startswith("infnet_runtime.backends.ort.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(candidates_module, "find_spec", lambda name: name)
    with pytest.raises(
        BackendError, match=r"\[INF-5032\] ONNX Runtime is installed and cannot be loaded"
    ) as told:
        open_session(model, backend="onnxruntime", device="cpu")
    assert told.value.exit_code == 5


@pytest.mark.usefixtures("x86")
def test_several_threads_open_the_same_first_choice(model: Path) -> None:
    both_installed()
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_session(model, device="cpu", threads=1), range(4)))
    found = [alone(session, noise(2)) for session in opened]
    assert {session.backend.split()[0] for session in opened} == {"openvino"}
    assert all(np.array_equal(found[0], other) for other in found)
    for session in opened:
        session.close()


def test_what_is_asked_for_by_name_needs_no_reason(model: Path, backend: str) -> None:
    session, choice = open_chosen(model, backend=backend, device="cpu")
    session.close()
    assert choice == ""


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_backend_asked_for_and_not_installed(
    model: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates_module, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"is missing: pip install 'infnet\[") as caught:
        open_session(model, backend=backend)
    assert caught.value.exit_code == 5


def test_unknown_backends_are_refused(model: Path) -> None:
    with pytest.raises(BackendError, match=r"\[INF-5003\] backend 'torch' is not known, expected auto, onnx"):
        open_session(model, backend="torch")


def test_openvino_has_no_cuda(model: Path) -> None:
    with pytest.raises(BackendError, match=r"\[INF-5004\] backend openvino runs on the CPU"):
        open_session(model, backend="openvino", device="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cpu:1", "", "tpu"])
def test_unknown_devices_are_refused(model: Path, device: str) -> None:
    with pytest.raises(BackendError, match="is not known, expected auto, cpu, cuda or cuda:N"):
        open_session(model, device=device)


def test_cuda_is_never_replaced_by_the_cpu(model: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(
        BackendError, match=r"device 'cuda' was asked for, the installed onnxruntime .* has no CUDA"
    ):
        open_session(model, device="cuda")


def test_a_cuda_provider_that_does_not_come_up_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The GPU wheel on a machine without a driver lists CUDA and then runs on the CPU."""
    import onnxruntime

    real, asked = onnxruntime.InferenceSession, []

    def falls_back(content: bytes, options: Any, providers: list[Any]) -> Any:  # noqa: ANN401 - untyped library
        asked.append(providers[0])
        return real(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda **options: None)
    monkeypatch.setattr(ort_cuda, "find_gpu", lambda index: None)
    monkeypatch.setattr(open_module, "find_gpu", lambda index: None)
    monkeypatch.setattr(ort_cuda, "open_device", lambda index: PlainDevice())
    with pytest.raises(BackendError, match="device 'cuda:1' was asked for, ONNX Runtime could not use it"):
        open_session(model, device="cuda:1")
    assert asked[0] == ("CUDAExecutionProvider", ort_cuda.provider_options(1, 1, graph=True))
    with caplog.at_level("INFO"), open_session(model, device="auto") as session:
        assert session.device == "cpu"
    assert "not onnxruntime on cuda:0: device 'cuda:0' was asked for" in caplog.text


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at .*none.onnx; give one with --model"):
        open_session(tmp_path / "none.onnx")


def test_training_weights_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"INF-4034.*holds training weights, expected an ONNX model; make one with"
    ):
        open_session(tmp_path / "weights.safetensors")


def test_foreign_onnx_is_refused(tmp_path: Path, backend: str) -> None:
    foreign = mid_grey_detector(tmp_path / "foreign.onnx", manifest=None)
    with pytest.raises(ModelError, match="is an ONNX model without 'infnet.manifest'"):
        open_session(foreign, backend=backend)


def test_a_model_of_another_contract_is_refused(tmp_path: Path, backend: str) -> None:
    text = MANIFEST.to_json().replace('"contract_version":1', '"contract_version":7')
    with pytest.raises(ModelError, match="follows preprocessing contract 7"):
        open_session(mid_grey_detector(tmp_path / "newer.onnx", manifest=text), backend=backend)


def test_a_graph_that_does_not_keep_its_promise_is_refused(tmp_path: Path, backend: str) -> None:
    other = mid_grey_detector(tmp_path / "other.onnx", output="logits")
    with pytest.raises(ModelError, match=r"gives 'logits' float32 \(n, 1, 192, 192\), its manifest promises"):
        open_session(other, backend=backend)


def test_weights_in_other_files_are_refused_though_they_are_there(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    proto = onnx.load(model)
    band = proto.graph.initializer[3]
    raw = numpy_helper.to_array(band).tobytes()
    (tmp_path / "weights.bin").write_bytes(raw)
    band.ClearField("raw_data")
    band.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(len(raw)))):
        band.external_data.add(key=key, value=value)
    path = tmp_path / "external.onnx"
    path.write_bytes(proto.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"keeps weights in other files \(weights.bin beside it\), expected one"
    ):
        open_session(path, backend=backend)


def test_weights_are_looked_for_everywhere() -> None:
    """In initialisers, in attributes of nodes, and in graphs inside nodes."""

    def model_with(tensor: onnx.TensorProto, *, place: str) -> bytes:
        inner = helper.make_graph([], "inner", [], [], [tensor] if place != "attribute" else [])
        node = helper.make_node("Constant", [], ["c"])
        if place == "attribute":
            node.attribute.append(helper.make_attribute("value", tensor))
        elif place == "subgraph":
            node.attribute.append(helper.make_attribute("then_branch", inner))
        graph = inner if place == "initialiser" else helper.make_graph([node], "outer", [], [])
        return bytes(helper.make_model(graph).SerializeToString())

    inside = numpy_helper.from_array(np.arange(300.0), "weights")
    outside = onnx.TensorProto(name="weights", data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="weights.bin")
    for place in ("initialiser", "attribute", "subgraph"):
        assert weights_elsewhere(model_with(inside, place=place)) == (), place
        assert weights_elsewhere(model_with(outside, place=place)) == ("weights.bin",), place
    for damaged in (b"hello", model_with(inside, place="subgraph")[:-7], b"\xff" * 20):
        with pytest.raises(ValueError, match=r"cut off|wire type"):
            weights_elsewhere(damaged)


def test_non_finite_and_impossible_probabilities_are_never_passed_on(tmp_path: Path, backend: str) -> None:
    for name, scale in (("nan", float("nan")), ("two", 2.0)):
        with (
            open_session(
                mid_grey_detector(tmp_path / f"{name}.onnx", scale=scale), backend=backend
            ) as session,
            pytest.raises(
                GateError, match=rf"probabilities from '{backend} .* are not finite or not within 0..1"
            ),
        ):
            infection_probability(session, np.full((1, 3, SIZE, SIZE), -0.15, np.float32))


def test_a_backend_that_returns_another_shape_is_refused(model: Path) -> None:
    with open_session(model) as session:

        class Short:
            backend, device, manifest, model_sha256 = "short", "cpu", session.manifest, ""
            coarse = None

            def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
                return {"infection_probability": batch[:, 0]}

        expected = (
            r"INF-4032.*expected float32 probabilities \(2, 1, 192, 192\), backend 'short' "
            r"returned float32 \(2, 192"
        )
        with pytest.raises(ModelError, match=expected):
            infection_probability(Short(), BATCH)  # type: ignore[arg-type]


def test_default_model_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFNET_MODEL", "/somewhere/mine.onnx")
    assert default_model() == Path("/somewhere/mine.onnx")


def test_no_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFNET_MODEL", raising=False)
    monkeypatch.setattr(shipped_module, "__file__", str(tmp_path / "package" / "model" / "shipped.py"))
    with pytest.raises(ModelError, match=r"\[INF-4030\] no model was shipped with this installation"):
        open_session()


def test_a_sigmoid_that_overshoots_by_rounding_is_clipped(model: Path) -> None:
    with open_session(model) as session:

        class Overshooting:
            backend, device, manifest, model_sha256 = "fast", "cpu", session.manifest, ""
            coarse = None

            def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
                output = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
                output[0, 0, 0, :2] = np.nextafter(np.float32(1), np.float32(2)), -1e-7
                return {"infection_probability": output}

        probability = infection_probability(Overshooting(), BATCH)  # type: ignore[arg-type]
        assert probability.max() == 1
        assert probability.min() == 0


def test_backends_agree_with_the_reference(model: Path, backend: str) -> None:
    with open_session(model, backend="onnxruntime", device="cpu") as reference:
        expected = alone(reference, noise(5))
    with open_session(model, backend=backend, device="cpu", threads=1) as session:
        assert session.device == "cpu"
        assert session.backend.startswith(f"{backend} ")
        found = alone(session, noise(5))
    distance = np.abs(found - expected)
    assert np.isfinite(distance).all()
    assert distance.max() < TINY_TOLERANCE, f"{backend}: largest {distance.max()}, mean {distance.mean()}"


@pytest.mark.slow
def test_backends_agree_on_the_shipped_model(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.delenv("INFNET_MODEL", raising=False)
    with open_session(default_model(), backend="onnxruntime", device="cpu") as reference:
        slices = phantom_input(reference.manifest.preprocess)[:1]  # in noise it finds nothing at all
        expected = reference.run(slices)
    with open_session(default_model(), backend=backend, precision="f32", device="cpu") as session:
        found = session.run(slices)
    assert found.keys() == expected.keys()
    assert len(expected) == 2  # the infection and its classes
    for name, values in expected.items():
        distance = np.abs(found[name] - values)
        assert values.std() > 0, "nothing is compared"
        assert distance.max() < SHIPPED_TOLERANCE, f"{backend}, {name}: largest {distance.max()}"


def test_openvino_computes_in_single_precision(model: Path) -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    with open_session(model, backend="openvino") as session:
        assert re.fullmatch(r"openvino [\d.]+ \(CPU, f32\)", session.backend)


@pytest.mark.parametrize(("severity", "said"), [(None, 0), (3, 1)])
def test_an_error_of_onnx_runtime_is_raised_and_not_printed_too(
    severity: int | None, said: int, capfd: pytest.CaptureFixture[str]
) -> None:
    picked = helper.make_node("Gather", ["data", "at"], ["picked"])
    ports = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("data", onnx.TensorProto.FLOAT, ["n"]),
            ("at", onnx.TensorProto.INT64, ["m"]),
            ("picked", onnx.TensorProto.FLOAT, ["m"]),
        )
    ]
    graph = helper.make_graph([picked], "pick", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = session_options(1)
    if severity is not None:  # as it prints by itself
        options.log_severity_level = severity
    session = create(model.SerializeToString(), Path("pick.onnx"), options, [CPU_PROVIDER])
    with pytest.raises(Exception, match="indices element out of data bounds"):
        session.run(None, {"data": np.zeros(3, np.float32), "at": np.array([7])})
    assert capfd.readouterr().err.count("indices element out of data bounds") == said


NO_NETWORK = """
import socket, sys
from pathlib import Path

def told(*arguments, **named):
    print("network:", arguments)
    raise OSError

socket.socket.connect = socket.getaddrinfo = told
from infnet_runtime.backends import open_session
from infnet_runtime.machine.doctor import examine
assert examine(model=Path(sys.argv[1])).works
open_session(Path(sys.argv[1]), backend=sys.argv[2], device="cpu").close()
print([m for m in sys.modules if m.startswith("openvino_telemetry")])
"""


def test_nobody_is_told_that_a_model_runs(model: Path, backend: str, tmp_path: Path) -> None:
    """OpenVINO's plain import writes to Google Analytics, and an identifier into the home folder."""
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(model), backend],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert not (tmp_path / "intel").exists()


def test_the_same_slices_give_the_same_bytes(model: Path, backend: str) -> None:
    batch = noise(5)
    with open_session(model, backend=backend, device="cpu") as session:
        whole = alone(session, batch)
        alone(session, noise(3) * 7)  # what ran before is no matter
        assert alone(session, batch).tobytes() == whole.tobytes()
        assert (
            np.concatenate([alone(session, batch[:4]), alone(session, batch[4:])]).tobytes()
            == whole.tobytes()
        )
    with open_session(model, backend=backend, device="cpu") as session:
        assert alone(session, batch).tobytes() == whole.tobytes()


def test_sessions_are_used_by_several_threads(model: Path, backend: str) -> None:
    wrong: list[int] = []

    def use(n: int) -> None:
        same = [np.array_equal(alone(session, noise(n)), expected[n]) for _ in range(5)]
        wrong.extend(n for each in same if not each)

    with open_session(model, backend=backend, device="cpu", threads=1) as session:
        expected = {n: alone(session, noise(n)) for n in (1, 2, 3, 4)}
        threads = [threading.Thread(target=use, args=(n,)) for n in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_closed_session_says_so(model: Path, backend: str) -> None:
    session = open_session(model, backend=backend, device="cpu")
    session.close()
    session.close()
    with pytest.raises(ModelError, match="INF-4080.*the session is closed"):
        alone(session, BATCH)


def test_openvino_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"INF-5015\] OpenVINO cannot be loaded .*pip install 'infnet"):
        load_openvino()


def test_openvino_that_would_compute_otherwise_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processor plug-in may choose bf16 by itself where it was asked for f32."""
    openvino = pytest.importorskip("openvino")

    class Other:
        @staticmethod
        def get_property(_: str) -> object:
            return openvino.Type.bf16

    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: Other())
    with pytest.raises(BackendError, match=r"INF-5016\] OpenVINO was asked to compute in f32 and .*bf16"):
        open_session(model, backend="openvino")
