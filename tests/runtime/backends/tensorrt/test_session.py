"""The TensorRT backend with an engine on plain memory, whose queues are as late as they can be."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_tensorrt
from fake_tensorrt import GPU, MANIFEST, SCRATCH, SIZE, Plan, expected, sidecar, write_engine
from infnet_runtime.backends.batching import blocks
from infnet_runtime.backends.candidates import candidates
from infnet_runtime.backends.compiled import CompiledModels
from infnet_runtime.backends.cuda.driver import Gpu
from infnet_runtime.backends.open import open_session
from infnet_runtime.backends.session import infection_probability, run_checked
from infnet_runtime.backends.tensorrt.engine import LoadedEngine
from infnet_runtime.backends.tensorrt.session import TensorRtSession, load_tensorrt
from infnet_runtime.backends.tensorrt.sidecar import BatchRange, EngineSidecar, EngineTensor
from infnet_runtime.errors import BackendError, GateError, InfnetError, ModelError
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.coarse_logits import CoarseSpec
from infnet_runtime.model.specs import CLASS_OUTPUT
from plain_device import PlainDevice, PlainGpu
from tiny_models import KINDS, alone

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "tensorrt_names.json").read_text("utf-8"))


def slices(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, SIZE, SIZE), np.float32)


class Setup:
    """An engine file, and a session on it."""

    def __init__(self, folder: Path, described: EngineSidecar | None = None) -> None:
        self.described = described or sidecar()
        self.path = write_engine(folder / "model.plan", self.described)
        self.gpu = PlainGpu()
        self.engine = Plan(self.described, self.gpu)

    def open(self, **changes: Any) -> TensorRtSession:  # noqa: ANN401
        options: dict[str, Any] = {
            "load": fake_tensorrt.fake_tensorrt(self.engine),
            "gpu": lambda index: GPU,
            "device": self.gpu.open,
        }
        return TensorRtSession(self.path, **(options | changes))

    @property
    def device(self) -> PlainDevice:
        return self.gpu.devices[-1]

    def refused(self, **changes: Any) -> InfnetError:  # noqa: ANN401
        with pytest.raises(InfnetError) as caught:
            self.open(**changes)
        return caught.value


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_session_tells_what_it_is(setup: Setup) -> None:
    with setup.open(index=1) as session:
        assert session.backend == "tensorrt 11.4.0.106 (plain memory)"
        assert session.device == "cuda:1"
        assert session.manifest == MANIFEST
        assert session.model_sha256 == setup.described.plan_sha256
        assert session.batch_size == 16


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 23])
def test_any_number_of_slices(setup: Setup, n: int) -> None:
    with setup.open() as session:
        for seed in range(3):  # the first call prepares, the others launch graphs
            batch = slices(n, seed)
            assert np.array_equal(alone(session, batch), expected(batch))
            assert infection_probability(session, batch).shape == (n, SIZE, SIZE)


def test_several_outputs(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, outputs=(KINDS, *MANIFEST.outputs), contract_version=2)
    outputs = tuple(
        EngineTensor(name=o.name, dtype=dtype, shape=(-1, o.channels, SIZE, SIZE))
        for o, dtype in zip(reversed(manifest.outputs), ("FLOAT", "HALF"), strict=True)
    )
    setup = Setup(tmp_path, sidecar(outputs=outputs, manifest=manifest))
    with setup.open() as session:
        for n in (1, 9, 4):
            batch = slices(n, n)
            found = run_checked(session, batch)
            assert set(found) == {"infection_probability", KINDS.name}
            assert np.array_equal(found["infection_probability"], expected(batch))
            assert np.array_equal(infection_probability(session, batch), expected(batch)[:, 0])
            np.testing.assert_allclose(found[KINDS.name], expected(batch, 3), atol=1e-3)
    assert setup.device.closed


@pytest.mark.parametrize("asked", list(Asked))
def test_of_the_outputs_those_that_are_asked_for_are_copied_back(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = replace(MANIFEST, outputs=(*MANIFEST.outputs, CLASS_OUTPUT), contract_version=2)
    outputs = tuple(
        EngineTensor(name=o.name, dtype="FLOAT", shape=(-1, o.channels, SIZE, SIZE)) for o in manifest.outputs
    )
    setup, copied = Setup(tmp_path, sidecar(outputs=outputs, manifest=manifest)), set()
    copy_out = PlainDevice.copy_out

    def noted(device: PlainDevice, host: np.ndarray, address: int, stream: int) -> None:
        copied.add(host.shape[1])
        copy_out(device, host, address, stream)

    monkeypatch.setattr(PlainDevice, "copy_out", noted)
    with setup.open(asked=asked) as session:
        for n in (1, 9, 4):
            batch = slices(n, n)
            found = session.run(batch)
            assert set(found) == {o.name for o in session.manifest.outputs}
            assert np.array_equal(found["infection_probability"], expected(batch))
    assert copied == ({1} if asked is Asked.INFECTION else {1, 3})
    assert setup.device.closed


def test_an_engine_without_classes_is_refused_where_they_are_asked_for(setup: Setup) -> None:
    with pytest.raises(ModelError, match=r"INF-4070.*does not tell ground glass from consolidation"):
        setup.open(asked=Asked.CLASSES)


COARSE = CoarseSpec(probability=MANIFEST.output.name, factor=8)
WITH_COARSE = sidecar(
    outputs=(
        *sidecar().outputs,
        EngineTensor(name=COARSE.output, dtype="FLOAT", shape=(-1, 1, SIZE // 8, SIZE // 8)),
    ),
    coarse=COARSE,
)


@pytest.mark.parametrize("wanted", [False, True])
def test_of_full_map_and_coarse_logits_one_is_copied_back(
    tmp_path: Path, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, copied = Setup(tmp_path, WITH_COARSE), set()
    copy_out = PlainDevice.copy_out

    def noted(device: PlainDevice, host: np.ndarray, address: int, stream: int) -> None:
        copied.add(host.shape[1:])
        copy_out(device, host, address, stream)

    monkeypatch.setattr(PlainDevice, "copy_out", noted)
    with setup.open(coarse=wanted) as session:
        assert session.coarse == (COARSE if wanted else None)
        for n in (1, 9, 4):
            batch = slices(n, n)
            found = run_checked(session, batch)
            if wanted:
                assert np.array_equal(found["coarse_logits"], expected(batch)[..., ::8, ::8])
            else:
                assert np.array_equal(found["infection_probability"], expected(batch))
            assert len(found) == 1
            assert infection_probability(session, batch).shape == (n, SIZE, SIZE)
    assert copied == {(1, 4, 4) if wanted else (1, SIZE, SIZE)}
    assert setup.device.closed


def test_an_engine_without_coarse_logits_gives_the_full_map(setup: Setup) -> None:
    assert '"coarse"' not in setup.described.to_json(), "older versions know no such key"
    with setup.open(coarse=True) as session:
        assert session.coarse is None
        assert np.array_equal(infection_probability(session, slices(3)), expected(slices(3))[:, 0])


def test_an_engine_that_is_not_what_its_sidecar_says_of_coarse_logits(tmp_path: Path) -> None:
    contradicting = replace(WITH_COARSE, coarse=replace(COARSE, factor=5))
    assert Setup(tmp_path, contradicting).refused().code == 4055
    error = Setup(tmp_path, replace(WITH_COARSE, coarse=replace(COARSE, factor=4))).refused()
    assert error.code == 4033
    assert "'coarse_logits' (1, 8, 8), each FLOAT or HALF" in str(error)
    assert Setup(tmp_path, replace(WITH_COARSE, coarse=None)).refused().code == 4033


def test_an_engine_that_lacks_an_output_of_its_manifest(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, outputs=(KINDS, *MANIFEST.outputs), contract_version=2)
    error = Setup(tmp_path, sidecar(manifest=manifest)).refused()
    assert error.code == 4033
    assert (
        "(n, 3, 32, 32) and 'kind_probability' (3, 32, 32), 'infection_probability' (1, 32, 32), each"
        in str(error)
    )


def test_half_precision_rim(tmp_path: Path) -> None:
    with Setup(tmp_path, sidecar(dtype="HALF")).open() as session:
        batch = slices(6)
        assert alone(session, batch) == pytest.approx(expected(batch), abs=2e-3)
        assert alone(session, batch).dtype == np.float32


def test_the_last_batch_is_filled_up_and_nothing_is_set_again(setup: Setup) -> None:
    with setup.open() as session:
        setup.engine.batches_run.clear()
        alone(session, slices(10))
        assert setup.engine.batches_run == [4, 4, 4]
        setup.engine.shapes_set.clear()
        for n in (10, 3, 2, 4):
            alone(session, slices(n))
        assert setup.engine.shapes_set == [], "a shape was set again: TensorRT prepares anew"
        assert set(setup.engine.batches_run) == {4}
        alone(session, slices(1))
        assert setup.engine.batches_run[-1] == 1


def test_batches_depend_on_the_call_alone(setup: Setup) -> None:
    def run_of(n: int) -> list[int]:
        setup.engine.batches_run.clear()
        alone(session, slices(n))
        return sorted(setup.engine.batches_run)

    with setup.open() as session:
        run_of(9)  # prepared
        first = {n: run_of(n) for n in (1, 2, 5, 8)}
        assert {n: run_of(n) for n in (8, 5, 2, 1)} == first
        assert first == {n: sorted(b.length for b in blocks(n, (1, 4))) for n in first}


def test_filling_does_not_leak_from_the_call_before(setup: Setup) -> None:
    with setup.open() as session:
        alone(session, np.full((4, 3, SIZE, SIZE), np.nan, np.float32))
        assert np.isfinite(alone(session, slices(3))).all()


def test_two_lanes_are_under_way_at_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    with setup.open() as session:
        alone(session, slices(8))
        events: list[str] = []
        launch, synchronize = setup.device.launch, setup.device.synchronize

        def launched(graph: int, stream: int) -> None:
            events.append(f"launch {stream}")
            launch(graph, stream)

        def waited(stream: int) -> None:
            events.append(f"wait {stream}")
            synchronize(stream)

        monkeypatch.setattr(setup.device, "launch", launched)
        monkeypatch.setattr(setup.device, "synchronize", waited)
        alone(session, slices(16))
    assert events == [
        *("launch 1", "launch 2", "wait 1", "launch 1", "wait 2", "launch 2", "wait 1", "wait 2"),
    ]


def no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(device: PlainDevice, stream: int, work: object) -> int:
        raise RuntimeError("capture is not allowed here")

    monkeypatch.setattr(PlainDevice, "capture", refused)


def test_without_graphs_the_numbers_are_the_same(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_capture(monkeypatch)
    with caplog.at_level("INFO"), setup.open() as session:
        for seed in range(3):
            assert np.array_equal(alone(session, slices(9, seed)), expected(slices(9, seed)))
    assert "batches of 4 run without a CUDA graph: capture is not allowed here" in caplog.text


def test_a_failure_is_told_and_the_session_goes_on(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    with setup.open() as session:
        alone(session, slices(8))
        launch, count = setup.device.launch, iter(range(9))

        def fails_in_the_middle(graph: int, stream: int) -> None:
            if next(count) == 1:
                raise RuntimeError("an illegal memory access")
            launch(graph, stream)

        monkeypatch.setattr(setup.device, "launch", fails_in_the_middle)
        with pytest.raises(GateError, match=r"\[INF-7021\] tensorrt .* failed on cuda:0: an illegal memory"):
            alone(session, slices(12))
        assert np.array_equal(alone(session, slices(8)), expected(slices(8)))


def test_the_network_cannot_be_queued(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    no_capture(monkeypatch)
    with setup.open() as session:
        setup.engine.failing = True
        with pytest.raises(GateError, match="TensorRT could not queue the network: it fails"):
            alone(session, slices(2))


@pytest.mark.usefixtures("no_collector")
def test_close_order(setup: Setup) -> None:
    """What TensorRT holds goes before the memory it lies in; an engine after its contexts."""
    session = setup.open()
    alone(session, slices(9))
    assert setup.gpu.diary == []
    session.close()
    contexts = 2 * 2  # lanes, batch sizes
    ends = ["engine destroyed", "runtime destroyed", "device closed"]
    assert setup.gpu.diary == ["context destroyed"] * contexts + ends
    assert setup.gpu.used == 0


@pytest.mark.usefixtures("no_collector")
def test_a_call_that_failed_keeps_nothing_alive(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    no_capture(monkeypatch)
    session = setup.open()
    setup.engine.failing = True
    with pytest.raises(GateError) as told:
        alone(session, slices(2))
    session.close()
    assert isinstance(told.value, GateError)
    assert setup.gpu.diary[-3:] == ["engine destroyed", "runtime destroyed", "device closed"]
    assert setup.gpu.used == 0


def test_all_memory_is_taken_at_opening(setup: Setup) -> None:
    with setup.open() as session:
        used = setup.gpu.used
        for n in (1, 4, 40, 3):
            alone(session, slices(n))
        assert setup.gpu.used == used
    assert setup.gpu.used == 0


def test_the_contexts_of_a_lane_share_scratch_and_lanes_do_not(setup: Setup) -> None:
    with setup.open():
        given = setup.engine.scratches
        assert {size for _, size in given} == {SCRATCH}
        addresses = [address for address, _ in given]
        assert addresses[0] == addresses[1]
        assert addresses[2] == addresses[3]
        assert len(set(addresses)) == 2


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_rtx"])
def test_memory_that_ends_anywhere_while_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    no_capture(monkeypatch)  # that it may fail is no refusal
    setup = Setup(tmp_path, sidecar(package=package))
    with setup.open():
        pass
    refusals = 0
    while True:
        setup.gpu.steps_left = refusals
        del setup.gpu.diary[:]
        try:
            session = setup.open()
        except BackendError as error:
            kept = error  # somebody still looks at it
            assert str(kept).startswith("[INF-5025]")
            assert "OUT_OF_MEMORY" in str(kept) or "OutOfMemory" in str(kept)
            ended = [line for line in setup.gpu.diary if line != "context destroyed"]
            assert ended == ["engine destroyed", "runtime destroyed", "device closed"]
            assert setup.gpu.used == 0
            refusals += 1
        else:
            session.close()
            break
    steps = 1 + 2 * (1 + 4 + 1) + 2 * 2
    assert refusals == steps, "weights, streams, buffers and scratch of the lanes, and contexts"


def test_non_finite_results_are_never_passed_on(setup: Setup) -> None:
    batch = slices(2)
    batch[1, 0, 3, 4] = np.nan
    with setup.open() as session, pytest.raises(GateError, match=r"\[INF-7020\] 1 of 2048 probabilities"):
        infection_probability(session, batch)


def test_several_threads(setup: Setup) -> None:
    wrong: list[int] = []

    def use(seed: int) -> None:
        for n in (5, 1, 9):
            batch = slices(n, seed)
            if not np.array_equal(alone(session, batch), expected(batch)):
                wrong.append(seed)

    with setup.open() as session:
        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_closing_frees_the_device(setup: Setup) -> None:
    session = setup.open()
    alone(session, slices(5))
    session.close()
    assert setup.device.closed
    session.close()
    with pytest.raises(ModelError, match="INF-4080.*the session is closed"):
        alone(session, slices(1))


def test_batch_size_is_used_or_refused(setup: Setup) -> None:
    with setup.open(batch_size=8) as session:
        setup.engine.batches_run.clear()
        alone(session, slices(9))
        assert setup.engine.batches_run == [8, 1]
    error = setup.refused(batch_size=9)
    assert str(error) == (
        "[INF-5006] batch size 9 was asked for, the engine takes 1 to 8; leave --batch-size out, or build "
        "the engine again with --batch 1:9:9"
    )


def test_an_engine_of_one_batch_size(tmp_path: Path) -> None:
    setup = Setup(tmp_path, sidecar(batch=BatchRange(4, 4, 4)))
    with setup.open() as session:
        setup.engine.batches_run.clear()
        assert np.array_equal(alone(session, slices(6)), expected(slices(6)))
    assert setup.engine.batches_run == [4, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"load": fake_tensorrt.fake_tensorrt(None, version="10.16.1.11")},
            "[INF-4043] the engine was built by tensorrt 11.4.0.106, here is tensorrt 10.16.1.11",
        ),
        (
            {"gpu": lambda index: Gpu(name="x", capability="8.9", driver_cuda="13.0")},
            "[INF-4044] the engine was built on NVIDIA H100 (compute capability 9.0), the GPU here has 8.9",
        ),
        (
            {"load": fake_tensorrt.fake_tensorrt(None)},
            "[INF-4045] tensorrt 11.4.0.106 does not take the engine {path}: the plan is of another version. "
            "Build it again on this machine",
        ),
    ],
)
def test_foreign_engines(setup: Setup, changes: dict[str, Any], message: str) -> None:
    error = setup.refused(**changes)
    assert str(error).startswith(message.format(path=setup.path))
    assert error.exit_code == 4


def test_the_gpu_is_given_back_after_a_refusal(setup: Setup) -> None:
    setup.refused(load=fake_tensorrt.fake_tensorrt(None))
    assert setup.device.closed


@pytest.mark.parametrize(
    "other",
    [
        sidecar(batch=BatchRange(1, 2, 8)),
        sidecar(dtype="HALF"),
        sidecar(inputs=(EngineTensor(name="x", dtype="FLOAT", shape=(-1, 3, SIZE, SIZE)),)),
    ],
)
def test_an_engine_that_is_not_what_its_sidecar_says(setup: Setup, other: EngineSidecar) -> None:
    setup.engine.described = other
    error = setup.refused()
    assert error.code == 4046
    assert "its sidecar says" in str(error)


@pytest.mark.parametrize(
    "described",
    [
        sidecar(dtype="UINT8"),
        sidecar(outputs=(EngineTensor(name="logits", dtype="FLOAT", shape=(-1, 1, SIZE, SIZE)),)),
        sidecar(inputs=(EngineTensor(name="slices", dtype="FLOAT", shape=(-1, 1, SIZE, SIZE)),)),
    ],
)
def test_an_engine_that_does_not_keep_the_contract(tmp_path: Path, described: EngineSidecar) -> None:
    error = Setup(tmp_path, described).refused()
    assert error.code == 4033
    assert "its manifest promises one input" in str(error)


def test_a_gpu_without_memory(setup: Setup) -> None:
    setup.gpu.size = 1000
    error = setup.refused()
    assert str(error).startswith("[INF-5025] tensorrt 11.4.0.106 could not be set up on cuda:0 (")
    assert "OutOfMemory" in str(error)
    assert "a smaller --batch-size needs less" in str(error)
    assert setup.device.closed


def test_rtx_records_its_graphs_itself_and_compiles_at_once(tmp_path: Path) -> None:
    """By default the first calls run on kernels for any shape, whose bytes are others."""
    setup = Setup(tmp_path, sidecar(package="tensorrt_rtx"))
    with setup.open() as session:
        assert session.backend.startswith("tensorrt_rtx 11.4.0.106 (")
        for n in (1, 9, 4, 4, 4, 4, 4):
            assert np.array_equal(alone(session, slices(n, n)), expected(slices(n, n)))
    assert setup.engine.recorded_inside == 2 * 2
    assert setup.engine.recorded_outside == 0


def test_rtx_takes_what_an_earlier_process_compiled(tmp_path: Path) -> None:
    kept = CompiledModels(tmp_path / "cache")
    setup = Setup(tmp_path, sidecar(package="tensorrt_rtx"))

    def compiled(**changes: Any) -> int:  # noqa: ANN401
        before = setup.engine.compiled
        with setup.open(**({"kept": kept} | changes)) as session:
            assert np.array_equal(alone(session, slices(9)), expected(slices(9)))
        return setup.engine.compiled - before

    assert compiled() == 2, "batches of 1 and 4, once for both lanes"
    assert kept.size()[0] == 1
    assert compiled() == 0
    assert compiled(batch_size=8) == 1
    assert compiled(batch_size=8) == compiled() == 0
    assert kept.size()[0] == 1
    other = replace(GPU, name="NVIDIA RTX 6000")
    assert compiled(gpu=lambda index: other) == 2
    assert kept.size()[0] == 2
    assert compiled(kept=None) == 2


def test_kernels_that_do_not_fit_are_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after another driver, which TensorRT tells and the key does not."""
    kept = CompiledModels(tmp_path / "cache")
    setup = Setup(tmp_path, sidecar(package="tensorrt_rtx"))
    with setup.open(kept=kept):
        pass
    monkeypatch.setattr(fake_tensorrt.IRuntimeCache, "deserialize", lambda self, blob: False)
    with caplog.at_level("INFO"), setup.open(kept=kept) as session:
        assert np.array_equal(alone(session, slices(9)), expected(slices(9)))
    assert "do not fit, compiling again" in caplog.text
    assert setup.engine.compiled == 4


def test_tensorrt_keeps_nothing(setup: Setup, tmp_path: Path) -> None:
    with setup.open(kept=CompiledModels(tmp_path / "cache")):
        pass
    assert not (tmp_path / "cache").exists()


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "infnet_runtime.backends.tensorrt.library.importlib.util.find_spec", lambda name: None
    )
    for package, how in (("tensorrt", "'infnet[tensorrt]'"), ("tensorrt_rtx", "'tensorrt-rtx>=1.7,<2'")):
        told = re.escape(f"[INF-5020] {package} is not installed: pip install {how}")
        with pytest.raises(BackendError, match=told):
            load_tensorrt(package)
    with pytest.raises(ModelError, match=r"\[INF-4043\] the engine was built by 'os'"):
        load_tensorrt("os")


def test_the_real_library_says_why_it_refuses_a_plan(tmp_path: Path) -> None:
    """TensorRT for RTX answers without a GPU too; TensorRT itself would end the process."""
    pytest.importorskip("tensorrt_rtx")
    trt = load_tensorrt("tensorrt_rtx")
    with pytest.raises(
        ModelError, match=r"\[INF-4045\] tensorrt_rtx [\d.]+ does not take the engine .*"
    ) as caught:
        LoadedEngine(trt, b"no plan" * 100, sidecar(package="tensorrt_rtx"), tmp_path / "m.plan")
    assert "no reason given" not in str(caught.value)


def test_an_engine_as_model_selects_tensorrt(tmp_path: Path) -> None:
    path = tmp_path / "none.plan"
    (chosen,) = candidates(path, device="cuda:1")
    assert str(chosen) == "tensorrt on cuda:1"
    assert str(candidates(path)[0]) == "tensorrt on cuda:0"
    with pytest.raises(ModelError, match=r"\[INF-4040\] no engine at .*none.plan"):
        open_session(path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m.plan", {"device": "cpu"}, r"\[INF-5004\] .*m.plan is a TensorRT engine and runs on CUDA"),
        ("m.engine", {"backend": "onnxruntime"}, r"\[INF-5005\] .*is a TensorRT engine, backend onnxruntime"),
        ("m.onnx", {"backend": "tensorrt"}, r"\[INF-5005\] backend tensorrt runs engines .*infnet-export"),
    ],
)
def test_what_does_not_go_together(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        candidates(Path(name), **options)


def names_of(owner: str, versions: str) -> set[str]:
    """Names of a class that are in all of these versions, or more."""
    groups = (group.get(owner, "") for has, group in GOLDEN["names"].items() if set(versions) <= set(has))
    return {name for text in groups for name in text.split()}


def test_every_name_that_is_used_is_in_every_version() -> None:
    """The stand-in has what the backend uses; the bindings of all versions have what the stand-in has."""
    everywhere = "".join(GOLDEN["versions"])
    rtx = everywhere[-1]
    common = ("ICudaEngine", "IExecutionContext", "TensorIOMode", "ExecutionContextAllocationStrategy")
    of_rtx = (
        *("CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy", "IRuntimeCache"),
        "IRuntimeConfig",
    )
    for classes, versions in ((common, everywhere), (of_rtx, rtx)):
        assert set(classes) <= names_of("", versions)
        for name in classes:
            members = vars(getattr(fake_tensorrt, name))
            used = {n for n in members if not n.startswith("_")} | {
                n
                for n in ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy")
                if name == "IRuntimeConfig"
            }
            assert used <= names_of(name, versions), name
    assert {"Runtime", "ILogger"} <= names_of("", everywhere)
    assert "deserialize_cuda_engine" in names_of("Runtime", everywhere)
    assert {"INTERNAL_ERROR", "ERROR", "WARNING", "log"} <= names_of("ILogger", everywhere)
