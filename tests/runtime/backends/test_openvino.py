"""OpenVINO with models that were compiled before: the same to the bit, and compiled anew where in doubt."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import infnet_runtime
from infnet_runtime.backends import open_session
from infnet_runtime.backends import openvino as openvino_module
from infnet_runtime.backends.compiled import CompiledModels
from infnet_runtime.backends.open import open_content
from infnet_runtime.backends.openvino import OpenVinoSession
from infnet_runtime.backends.session import run_checked
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.shipped import default_model
from infnet_runtime.model.specs import CLASS_OUTPUT
from tiny_models import SIZE, classes_detector, coarse_detector, mid_grey_detector, two_outputs

pytest.importorskip("openvino")
BATCH = np.random.default_rng(3).standard_normal((3, 3, SIZE, SIZE), np.float32)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompiledModels:
    folder = tmp_path / "cache"
    monkeypatch.setenv("INFNET_CACHE", str(folder))
    return CompiledModels(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that were really compiled."""
    compile_ = openvino_module._compiled
    found: list[Path] = []

    def counted(core: object, content: bytes, settings: dict[str, Any], ports: Any, path: Path) -> object:  # noqa: ANN401 - handed through
        found.append(path)
        return compile_(core, content, settings, ports, path)

    monkeypatch.setattr(openvino_module, "_compiled", counted)
    return found


def outputs(model: Path, *, threads: int = 1, cache: bool = True) -> dict[str, np.ndarray]:
    with open_session(model, backend="openvino", device="cpu", threads=threads, cache=cache) as session:
        return {name: values.copy() for name, values in session.run(BATCH).items()}


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return one.keys() == two.keys() and all(one[k].tobytes() == two[k].tobytes() for k in one)


@pytest.mark.parametrize("make", [mid_grey_detector, two_outputs])
def test_results_are_the_same_to_the_bit(
    make: Any,  # noqa: ANN401 - either maker
    kept: CompiledModels,
    tmp_path: Path,
    compilations: list[Path],
) -> None:
    model = make(tmp_path / "a.onnx")
    plain = outputs(model, cache=False)
    assert kept.size()[0] == 0
    first, second = outputs(model), outputs(model)
    assert len(compilations) == 2  # without, and the first with
    assert same(plain, first)
    assert same(plain, second)


def eight_bit(path: Path) -> Path:
    """A model whose grey goes through 8 bit."""
    model = onnx.load(path)
    for name, value in (("step", np.float32(0.05)), ("middle", np.uint8(128))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    for node in model.graph.node:
        node.input[:] = ["rounded" if name == "channel" else name for name in node.input]
    nodes = [
        model.graph.node[0],
        helper.make_node("QuantizeLinear", ["channel", "step", "middle"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "step", "middle"], ["rounded"]),
        *model.graph.node[1:],
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("coarse", [False, True])
def test_of_an_8_bit_model_the_infection_is_a_graph_of_its_own(
    coarse: bool, kept: CompiledModels, tmp_path: Path, compilations: list[Path]
) -> None:
    """What else is asked for must not change how it is compiled, nor that it is found again."""
    detector = coarse_detector(tmp_path / "m.onnx") if coarse else mid_grey_detector(tmp_path / "m.onnx")
    path, found = eight_bit(classes_detector(tmp_path / "classes.onnx", of=detector)), {}
    for asked in (Asked.INFECTION, Asked.CLASSES):
        session = OpenVinoSession(path, threads=1, kept=kept, coarse=coarse, asked=asked)
        with session:
            assert session.precision == "int8 + float32"
            found[asked] = run_checked(session, BATCH)
    assert len(compilations) == 2, "the infection once"
    (name,) = found[Asked.INFECTION]
    assert found[Asked.INFECTION][name].tobytes() == found[Asked.CLASSES][name].tobytes()
    assert set(found[Asked.CLASSES]) == {name, CLASS_OUTPUT.name}
    with open_session(path, backend="onnxruntime", device="cpu") as reference:
        expected = run_checked(reference, BATCH)[CLASS_OUTPUT.name]
    np.testing.assert_allclose(found[Asked.CLASSES][CLASS_OUTPUT.name], expected, atol=1e-5)


def test_in_single_precision_all_is_one_graph(tmp_path: Path, compilations: list[Path]) -> None:
    path = classes_detector(tmp_path / "classes.onnx")
    with OpenVinoSession(path, threads=1, precision="f32") as session:
        assert len(session.run(BATCH)) == 2
    assert len(compilations) == 1


def test_what_the_session_says_is_the_same(kept: CompiledModels, model: Path) -> None:
    said = []
    for _ in range(2):
        with open_session(model, backend="openvino", device="cpu", threads=1) as session:
            said.append((session.backend, session.model_sha256, session.manifest, session.batch_size))
    assert kept.size()[0] == 1
    assert said[0] == said[1]


@pytest.mark.parametrize(("unit", "expected"), [("avx512_vnni", 4), (None, 1)])
def test_batches_are_small_where_large_ones_gain_nothing(
    unit: str | None, expected: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_module, "int8_unit", lambda: unit)
    with OpenVinoSession(model, threads=1) as session:
        assert session.batch_size == expected
    with OpenVinoSession(model, threads=1, batch_size=3) as session:
        assert session.batch_size == 3


def test_another_model_thread_number_or_processor_is_compiled(
    kept: CompiledModels,
    model: Path,
    tmp_path: Path,
    compilations: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs(model)
    outputs(model, threads=2)
    outputs(mid_grey_detector(tmp_path / "other.onnx", scale=7))
    monkeypatch.setattr(openvino_module, "cpu_flags", lambda: frozenset({"some_unit"}))
    outputs(model)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    outputs(model)
    assert len(compilations) == 5
    assert kept.size()[0] == 5


def test_the_key_names_version_processor_and_settings() -> None:
    import openvino

    promised = {"infection_probability": (1, SIZE, SIZE)}
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    key = openvino_module._key("1.2.3", openvino.Core(), "abc", promised, settings)
    facts = json.loads(key)
    assert (facts["openvino"], facts["model"]) == ("1.2.3", "abc")
    assert facts["settings"] == settings
    assert facts["outputs"] == ["infection_probability"]
    assert facts["processor"]
    assert facts["infnet"] == infnet_runtime.__version__
    assert "FP32" in facts["capabilities"]


def test_full_map_and_coarse_logits_are_kept_apart(
    kept: CompiledModels, tmp_path: Path, compilations: list[Path]
) -> None:
    path = coarse_detector(tmp_path / "coarse.onnx")
    for _ in range(2):
        for coarse in (False, True):
            with open_session(path, backend="openvino", device="cpu", threads=1, coarse=coarse) as session:
                assert list(session.run(BATCH)) == ["coarse_logits" if coarse else "infection_probability"]
    assert len(compilations) == 2
    assert kept.size()[0] == 2


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_file_is_compiled_anew(
    size: int, kept: CompiledModels, model: Path, compilations: list[Path]
) -> None:
    before = outputs(model)
    (path,) = kept.folder.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    assert same(before, outputs(model))
    assert len(compilations) == 2
    outputs(model)  # and what is kept now is whole
    assert len(compilations) == 2


def key_of(kept: CompiledModels, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key that a session asks for."""
    asked: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(CompiledModels, "read", lambda _, key: asked.append(key))
        patch.setattr(CompiledModels, "keep", lambda *_: None)
        outputs(model)
    return asked[0]


@pytest.mark.parametrize("blob", [b"", b"something else entirely", bytes(10_000)])
def test_what_the_library_does_not_take_is_compiled_anew(
    blob: bytes,
    kept: CompiledModels,
    model: Path,
    compilations: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = outputs(model, cache=False)
    kept.keep(key_of(kept, model, monkeypatch), blob)
    compilations.clear()
    assert same(plain, outputs(model))
    assert len(compilations) == 1
    assert same(plain, outputs(model))
    assert len(compilations) == 1


def test_the_compiled_form_of_another_model_is_noticed(
    kept: CompiledModels,
    model: Path,
    tmp_path: Path,
    compilations: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even where its hash is right: its outputs are not those of the manifest."""
    other = two_outputs(tmp_path / "two.onnx")
    foreign, own = (key_of(kept, path, monkeypatch) for path in (other, model))
    outputs(other)
    blob = kept.read(foreign)
    assert blob
    kept.keep(own, blob)
    compilations.clear()
    outputs(model)
    assert compilations == [model]


def test_host_programs_can_switch_it_off(kept: CompiledModels, model: Path) -> None:
    infnet_runtime.load(model, backend="openvino", threads=1, cache=False).close()
    assert kept.size()[0] == 0
    infnet_runtime.load(model, backend="openvino", threads=1).close()
    assert kept.size()[0] == 1


def test_the_environment_switches_it_off(
    kept: CompiledModels, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFNET_CACHE", "off")
    outputs(model)
    assert kept.size()[0] == 0


def test_content_that_is_no_file_is_not_kept(kept: CompiledModels, model: Path) -> None:
    open_content(model.read_bytes(), "some", backend="openvino", threads=1).close()
    assert kept.size()[0] == 0


def test_where_nothing_can_be_kept_it_is_compiled(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = CompiledModels(tmp_path / "file" / "cache")
    with OpenVinoSession(model, threads=1, kept=nowhere) as session:
        assert session.run(BATCH)


def test_several_processes_at_once(kept: CompiledModels, model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from infnet_runtime.backends import open_session\n"
        "open_session(Path(sys.argv[1]), backend='openvino', device='cpu', threads=1).close()\n"
    )
    command = [sys.executable, "-c", program, str(model)]
    running = [subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert kept.size()[0] == 1
    (path,) = kept.folder.iterdir()
    assert path.suffix == ".model"


@pytest.mark.slow
def test_the_shipped_model_is_the_same_to_the_bit(kept: CompiledModels, compilations: list[Path]) -> None:
    batch = np.random.default_rng(5).standard_normal((1, 3, 352, 352), np.float32)
    found = []
    for cache in (False, True, True):
        with open_session(
            default_model(int8=True), backend="openvino", device="cpu", threads=1, cache=cache
        ) as session:
            found.append([values.tobytes() for values in session.run(batch).values()])
    assert len(compilations) == 4  # in 8 bit the infection and its classes are two graphs, each made twice
    assert found[0] == found[1] == found[2]
