"""Building engines, for real with TensorRT for RTX, which needs no GPU; and every way it is refused."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_export.graph.onnx_file import model_bytes
from infnet_export.graph.plain_weights import plain_weights
from infnet_export.precision.choice import KeepFp32, keep_of
from infnet_export.precision.float16 import to_float16
from infnet_export.tensorrt import builder, engine
from infnet_export.tensorrt.api import check_version, load_tensorrt, message_log
from infnet_export.tensorrt.builder import BuiltEngine, EngineSettings, build_plan
from infnet_export.tensorrt.engine import build_command, build_engine
from infnet_runtime.backends.cuda.driver import Gpu, find_gpu
from infnet_runtime.backends.tensorrt import library, session
from infnet_runtime.backends.tensorrt.library import Package
from infnet_runtime.backends.tensorrt.sidecar import BatchRange, read_engine, sidecar_path
from infnet_runtime.errors import BackendError, InfnetError, InputError, ModelError, OutputError
from infnet_runtime.model.manifest import METADATA_KEY
from tiny_models import MANIFEST, SIZE, mid_grey_detector

INFNET = Path(__file__).parents[3] / "models" / "infnet.onnx"
RTX = EngineSettings(package=Package.RTX)
GPU = Gpu(name="NVIDIA H100 80GB HBM3", capability="9.0", driver_cuda="13.0")


@pytest.fixture
def rtx() -> Iterator[None]:
    """Real builds; the log is empty before and after."""
    pytest.importorskip("tensorrt_rtx", reason="pip install 'tensorrt-rtx>=1.7,<2' to build engines here")
    message_log(Package.RTX).take_errors()
    yield
    assert message_log(Package.RTX).take_errors() == []


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "tiny.onnx")


def half(path: Path, target: Path) -> Path:
    model, _ = to_float16(onnx.load(path), KeepFp32(modules=(), output_maps=False))
    target.write_bytes(model_bytes(model))
    return target


def one_node(
    path: Path,
    operator: str = "Conv",
    *,
    domain: str = "",
    weights: type[np.floating] = np.float32,
    batch: object = "n",
    kernel: tuple[int, ...] = (1, 3, 1, 1),
) -> Path:
    """A model of one node with weights of a type, not checked."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node(
                operator, ["slices", "w"], ["infection_probability"], name="the/node", domain=domain
            )
        ],
        "g",
        [value("slices", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [value("infection_probability", TensorProto.FLOAT, [batch, 1, SIZE, SIZE])],
        [numpy_helper.from_array(np.ones(kernel, weights), "w")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("nowhere", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json()})
    path.write_bytes(model.SerializeToString())
    return path


# --- built


@pytest.mark.usefixtures("rtx")
def test_engine_and_sidecar(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny.plan"
    report = build_engine(tiny, output, RTX, kept_in_fp32=["decoder"])
    plan, sidecar = read_engine(output)
    assert sidecar == report.sidecar
    assert len(plan) == sidecar.plan_bytes > 1000
    assert (sidecar.package, sidecar.gpu) == ("tensorrt_rtx", None)
    assert sidecar.version == load_tensorrt(Package.RTX).__version__
    assert [(t.name, t.dtype, t.shape) for t in sidecar.inputs] == [("slices", "FLOAT", (-1, 3, SIZE, SIZE))]
    assert [(t.name, t.dtype, t.shape) for t in sidecar.outputs] == [
        ("infection_probability", "FLOAT", (-1, 1, SIZE, SIZE))
    ]
    assert sidecar.manifest == MANIFEST
    assert sidecar.kept_in_fp32 == ("decoder",)
    assert sidecar.layers["FLOAT"] > 0
    assert "HALF" not in sidecar.layers
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx", "tiny.plan", "tiny.plan.json"]


@pytest.mark.usefixtures("rtx")
def test_types_of_the_file_are_types_of_the_engine(tiny: Path, tmp_path: Path) -> None:
    single = build_plan(tiny.read_bytes(), RTX, source="single")
    double = build_plan(half(tiny, tmp_path / "half.onnx").read_bytes(), RTX, source="half")
    assert single.layers.get("HALF", 0) == 0
    assert double.layers["HALF"] > double.layers["FLOAT"], "only the casts at the rim give FLOAT"
    assert [t.dtype for t in (*double.inputs, *double.outputs)] == ["FLOAT", "FLOAT"]


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("batch", ["1:1:1", "1:4:8", "2:2:32"])
def test_batch_ranges(tiny: Path, batch: str, tmp_path: Path) -> None:
    settings = EngineSettings(package=Package.RTX, batch=BatchRange.parse(batch), level=0)
    report = build_engine(tiny, tmp_path / "tiny.plan", settings)
    assert str(report.sidecar.batch) == batch


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("tf32", [False, True])
def test_single_precision_is_not_rounded_unless_asked(tiny: Path, tmp_path: Path, tf32: bool) -> None:
    """TensorRT's own default rounds, and the sidecar would say FP32."""
    settings = EngineSettings(package=Package.RTX, tf32=tf32)
    assert EngineSettings().tf32 is False
    report = build_engine(tiny, tmp_path / "tiny.plan", settings)
    assert report.sidecar.tf32 is tf32
    assert report.sidecar.precision == ("tf32" if tf32 else "float32")
    inspected = read_engine(tmp_path / "tiny.plan")[1]
    assert inspected.tf32 is tf32


@pytest.mark.slow
@pytest.mark.usefixtures("rtx")
def test_infnet_in_single_and_half_precision(tmp_path: Path) -> None:
    """The whole network: every operator is taken, and half precision halves the engine."""
    model = onnx.load(INFNET)
    converted, conversion = to_float16(model, keep_of(model))
    sizes, layers = {}, {}
    for name, graph in (("fp32", plain_weights(model)), ("fp16", converted)):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model_bytes(graph))
        kept = conversion.fp32_nodes if name == "fp16" else ()
        report = build_engine(path, path.with_suffix(".plan"), RTX, kept_in_fp32=kept)
        sizes[name], layers[name] = report.sidecar.plan_bytes, report.sidecar.layers
        logging.getLogger(__name__).info(
            "%s: parsed in %.2f s, built in %.2f s, %d bytes, %s",
            *(name, report.parse_s, report.build_s, sizes[name], layers[name]),
        )
    assert "HALF" not in layers["fp32"]
    assert layers["fp16"]["HALF"] > 5 * layers["fp16"]["FLOAT"] > 0
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


@pytest.mark.usefixtures("rtx")
def test_rtx_leaves_the_timing_cache_alone(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = EngineSettings(package=Package.RTX, timing_cache=tmp_path / "cache")
    with caplog.at_level(logging.INFO):
        build_plan(tiny.read_bytes(), settings, source="tiny")
    assert not (tmp_path / "cache").exists()
    assert "tensorrt_rtx measures no kernels, the timing cache is left alone" in caplog.messages


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
@pytest.mark.usefixtures("rtx")
def test_timing_cache_is_kept_for_version_and_gpu(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls, with a package that ignores them; what TensorRT makes of a cache needs a GPU."""
    monkeypatch.setattr(builder, "check_can_build", lambda _: GPU)
    settings = EngineSettings(package=Package.RTX, timing_cache=tmp_path / "cache")
    for _ in range(2):  # the second reads it
        build_plan(tiny.read_bytes(), settings, source="tiny")
    (kept,) = (tmp_path / "cache").iterdir()
    version = load_tensorrt(Package.RTX).__version__
    assert kept.name == f"tensorrt-{version}-NVIDIA-H100-80GB-HBM3-sm9-0.timing"
    kept.unlink()
    kept.mkdir()
    with pytest.raises(
        InputError, match=r"\[INF-3142\] cannot read the timing cache .*timing: Is a directory"
    ):
        build_plan(tiny.read_bytes(), settings, source="tiny")


# --- refused by TensorRT


@pytest.mark.usefixtures("rtx")
def test_single_input_on_a_half_kernel_is_refused_with_the_node(tmp_path: Path) -> None:
    model = one_node(tmp_path / "mixed.onnx", weights=np.float16)
    with pytest.raises(ModelError) as caught:
        build_engine(model, tmp_path / "mixed.plan", RTX)
    assert caught.value.code == 4130
    text = str(caught.value)
    assert text.startswith(f"[INF-4130] tensorrt_rtx does not take {model}: node 'the/node' (Conv): ")
    assert text.endswith("a strongly typed network needs one type for all inputs of an operator")
    assert [p.name for p in tmp_path.iterdir()] == ["mixed.onnx"]


@pytest.mark.usefixtures("rtx")
def test_unknown_operator_is_refused_with_its_name(tmp_path: Path) -> None:
    model = one_node(tmp_path / "odd.onnx", "Unheard", domain="nowhere")
    with pytest.raises(ModelError, match=r"\[INF-4130\] .*node 'the/node' \(Unheard\): .*Plugin not found"):
        build_engine(model, tmp_path / "odd.plan", RTX)


@pytest.mark.usefixtures("rtx")
def test_bytes_that_are_no_onnx_are_refused_by_the_parser_too() -> None:
    with pytest.raises(ModelError, match=r"\[INF-4130\] tensorrt_rtx does not take rubbish: "):
        build_plan(b"rubbish", RTX, source="rubbish")


@pytest.mark.usefixtures("rtx")
def test_batch_that_the_graph_cannot_have(tmp_path: Path) -> None:
    """A model that says its batch is free and adds an array of two slices."""
    model = one_node(tmp_path / "two.onnx", "Add", kernel=(2, 3, SIZE, SIZE))
    with pytest.raises(BackendError) as caught:
        build_engine(model, tmp_path / "two.plan", RTX)
    assert caught.value.code == 5022
    text = str(caught.value)
    assert f"could not build an engine from {model} for batches 1:4:8, no engine came out: " in text
    assert "the/node: dimensions not compatible for elementwise" in text
    assert text.endswith("try a smaller batch or --workspace (now 4096 MiB)")
    assert not (tmp_path / "two.plan").exists()


@pytest.mark.usefixtures("rtx")
def test_messages_are_collected_and_warnings_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = message_log(Package.RTX)
    assert log is message_log(Package.RTX), "TensorRT keeps the first logger of the process"
    trt = load_tensorrt(Package.RTX)
    assert trt is session.load_tensorrt(Package.RTX), "what builds and what runs have one library"
    assert log is library.message_log(Package.RTX, trt), "and one logger"
    levels = trt.ILogger
    for level in (levels.ERROR, levels.WARNING, levels.INFO):
        log.log(level, f"{level.name} \n")
    assert log.take_errors() == ["ERROR"]
    assert caplog.messages == ["tensorrt_rtx: WARNING"]


# --- refused before TensorRT


def test_what_is_no_whole_onnx_file_is_refused(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny.read_bytes()[:-20])
    prose = tmp_path / "prose.onnx"
    prose.write_text("certainly not")
    for path in (cut, prose):
        with pytest.raises(ModelError, match=rf"\[INF-4031\] {path} is not an ONNX file, or is cut off"):
            build_engine(path, tmp_path / "x.plan", RTX)
    with pytest.raises(ModelError, match=r"\[INF-4030\] cannot read .*none\.onnx"):
        build_engine(tmp_path / "none.onnx", tmp_path / "x.plan", RTX)


def test_weights_in_other_files_are_refused(tiny: Path, tmp_path: Path) -> None:
    """Wherever they lie; one outside the folder would be read by whoever builds."""
    model = onnx.load(tiny)
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../outside.bin")
    tiny.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"\[INF-4031\] .* keeps 1 weights in other files"):
        build_engine(tiny, tmp_path / "x.plan", RTX)


def test_fixed_batch_is_refused(tmp_path: Path) -> None:
    model = one_node(tmp_path / "fixed.onnx", batch=2)
    with pytest.raises(ModelError) as caught:
        build_engine(model, tmp_path / "fixed.plan", RTX)
    assert str(caught.value) == (
        f"[INF-4033] {model} takes [[2, 3, 192, 192]] (0 is free) and gives ['infection_probability'], its "
        "manifest promises one input with free batch, [0, 3, 192, 192], and 'infection_probability'; export "
        "it again with infnet-export"
    )


@pytest.mark.usefixtures("rtx")
def test_fixed_batch_is_refused_by_the_builder_too(tmp_path: Path) -> None:
    model = one_node(tmp_path / "fixed.onnx", batch=2)
    with pytest.raises(ModelError, match=r"\[INF-4033\] fixed takes slices \(2, 3, 192, 192\)"):
        build_plan(model.read_bytes(), RTX, source="fixed")


@pytest.mark.usefixtures("rtx")
def test_target_that_cannot_be_written_is_told_before_the_build(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "build_plan", None)
    with pytest.raises(OutputError, match=r"\[INF-8001\] cannot write .*none/tiny\.plan"):
        build_engine(tiny, tmp_path / "none" / "tiny.plan", RTX)
    (tmp_path / "tiny.plan.json").mkdir()
    with pytest.raises(OutputError, match=r"\[INF-8005\] cannot write .*tiny\.plan\.json: it is a folder"):
        build_engine(tiny, tmp_path / "tiny.plan", RTX)
    assert not (tmp_path / "tiny.plan").exists()
    with pytest.raises(OutputError, match=r"\[INF-8010\] .*tiny\.onnx is the model itself"):
        build_engine(tiny, tiny, RTX)


@pytest.mark.usefixtures("rtx")
def test_neither_file_without_the_other(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar's name is taken by a folder while the engine is built."""
    output = tmp_path / "tiny.plan"

    def build(content: bytes, settings: EngineSettings, *, source: str) -> BuiltEngine:
        sidecar_path(output).mkdir()
        return build_plan(content, settings, source=source)

    monkeypatch.setattr(engine, "build_plan", build)
    with pytest.raises(OutputError, match=r"cannot write .*tiny\.plan\.json"):
        build_engine(tiny, output, RTX)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx", "tiny.plan.json"]


@pytest.mark.usefixtures("rtx")
def test_failed_build_leaves_the_old_engine(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny.plan"
    before = build_engine(tiny, output, RTX).sidecar
    broken = one_node(tmp_path / "mixed.onnx", weights=np.float16)
    with pytest.raises(ModelError, match="INF-4130"):
        build_engine(broken, output, RTX)
    assert read_engine(output)[1] == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workspace_mib": 0}, "[INF-3141] workspace is 0 MiB, expected 1 or more"),
        ({"level": 6}, "[INF-3141] optimisation level is 6, expected 0 to 5"),
        ({"level": -1}, "[INF-3141] optimisation level is -1, expected 0 to 5"),
    ],
)
def test_settings_are_checked(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        EngineSettings(**change)  # type: ignore[arg-type]
    assert str(caught.value) == message


# --- where TensorRT or the GPU is missing


def test_without_tensorrt_the_message_says_what_to_run_where(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda _: None)
    before = tiny.read_bytes()
    output = tmp_path / "out" / "tiny.plan"
    with pytest.raises(BackendError) as caught:
        build_engine(tiny, output, EngineSettings(level=5))
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        "[INF-5020] tensorrt is not installed: pip install 'infnet[gpu,export,tensorrt]'. "
        f"{output} was not built; {tiny} is complete and needs nothing from here. On a machine with the "
        "NVIDIA GPU the engine is meant for and driver r580 or newer, run: pip install "
        f"'infnet[gpu,export,tensorrt]' && infnet-export {tiny} -o {output.parent} --trt --batch 1:4:8 "
        "--level 5; with driver r535 to r579 also: pip uninstall tensorrt, pip install "
        "'tensorrt-cu12>=10.13,<12'"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.onnx"]
    assert tiny.read_bytes() == before


def test_the_command_starts_from_the_file_that_fp16_was_made_from(tmp_path: Path) -> None:
    half_file, output = tmp_path / "m.fp16.onnx", tmp_path / "m.plan"
    rtx = EngineSettings(package=Package.RTX, workspace_mib=64, timing_cache=Path("a b"))
    assert build_command(half_file, output, rtx) == (
        f"infnet-export {half_file} -o {tmp_path} --rtx --batch 1:4:8 --workspace 64 --timing-cache 'a b'"
    )
    assert build_command(half_file, output, EngineSettings(tf32=True)).endswith("--batch 1:4:8 --tf32")
    (tmp_path / "m.onnx").touch()
    expected = f"infnet-export {tmp_path / 'm.onnx'} -o {tmp_path} --trt --batch 1:4:8"
    assert build_command(half_file, output, EngineSettings()) == expected


def test_without_a_gpu_no_tensorrt_object_is_made(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "load_tensorrt", lambda _: None)  # an attribute of it would be an error
    monkeypatch.setattr(builder, "find_gpu", lambda: find_gpu(library="libnothing.so.1"))
    with pytest.raises(BackendError) as caught:
        build_engine(tiny, tmp_path / "out.plan", EngineSettings())
    assert caught.value.code == 5021
    assert "there is no NVIDIA driver here (libnothing.so.1 cannot be loaded)" in str(caught.value)
    assert f"infnet-export {tiny} -o {tmp_path} --trt" in str(caught.value)


def test_package_whose_libraries_do_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tensorrt", raising=False)
    with pytest.raises(
        BackendError, match=r"\[INF-5020\] tensorrt is installed and cannot be loaded \(libnv"
    ):
        load_tensorrt(Package.TENSORRT)


@pytest.mark.parametrize(
    ("package", "version", "known"),
    [
        (Package.TENSORRT, "10.12.0.36", False),
        (Package.TENSORRT, "10.13.3.9", True),
        (Package.TENSORRT, "11.4.0.106", True),
        (Package.TENSORRT, "12.0", False),
        (Package.RTX, "1.6.0", False),
        (Package.RTX, "1.7.1.116", True),
        (Package.RTX, "2.0", False),
    ],
)
def test_versions(package: Package, version: str, known: bool) -> None:
    if known:
        check_version(package, version)
        return
    with pytest.raises(InfnetError, match=rf"\[INF-5023\] {package} {version} is installed, expected "):
        check_version(package, version)
