"""What a file is, is told from its bytes: in one line, with exit code 4, before a scan is read."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from infnet_runtime.backends import open_session
from infnet_runtime.cli.main import app
from infnet_runtime.errors import ModelError
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY
from infnet_runtime.model.coarse_logits import outputs_given
from infnet_runtime.model.facts import read_facts
from infnet_runtime.model.manifest import ENTRY_KEY
from infnet_runtime.model.recognise import NEWEST_IR, OPSETS, Recognised, recognised
from tiny_models import MANIFEST, SIZE, mid_grey_detector

Change = Callable[[onnx.ModelProto], None]


def changed(path: Path, change: Change) -> Path:
    model = onnx.load(mid_grey_detector(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def sizes(value: onnx.ValueInfoProto) -> "list[onnx.TensorShapeProto.Dimension]":
    return list(value.type.tensor_type.shape.dim)


def fixed_input(model: onnx.ModelProto) -> None:
    sizes(model.graph.input[0])[0].dim_value = 1


def fixed_output(model: onnx.ModelProto) -> None:
    sizes(model.graph.output[0])[0].dim_value = 4


def fixed_everywhere(model: onnx.ModelProto) -> None:
    fixed_input(model)
    sizes(model.graph.output[0])[0].dim_value = 1


def fixed_inside(model: onnx.ModelProto) -> None:
    """Only the backend's own look at the sizes sees it: a simplifier wrote the batch into a Reshape."""
    (result,) = model.graph.node[-1].output
    model.graph.node[-1].output[0] = "before"
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([1, 1, SIZE, SIZE], np.int64), "fixed shape")
    )
    model.graph.node.append(helper.make_node("Reshape", ["before", "fixed shape"], [result]))


def wrong_size(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for size in sizes(value)[2:]:
            size.dim_value = SIZE // 2


def free_size(model: onnx.ModelProto) -> None:
    for size, name in zip(sizes(model.graph.input[0])[2:], ("rows", "columns"), strict=True):
        size.dim_param = name


def wrong_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def extra_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1, SIZE, SIZE]))


def no_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = OPSETS[1] + 1


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = OPSETS[0] - 1


def new_ir(model: onnx.ModelProto) -> None:
    model.ir_version = NEWEST_IR + 1


def foreign(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def lung_network(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {LUNG_METADATA_KEY: "{}"})


def takes_hu(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key=ENTRY_KEY, value="{}")


def weights_beside(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[3]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")


CHANGES: list[tuple[Change, int, str]] = [
    (fixed_input, 4047, "has a fixed number of slices in 'slices' float32 (1, 3, 192, 192)"),
    (fixed_output, 4047, "has a fixed number of slices in 'infection_probability' float32 (4, 1, 192, 192)"),
    (fixed_everywhere, 4047, "has a fixed number of slices in 'slices'"),
    (fixed_inside, 4047, "has a fixed number of slices in 'infection_probability' float32 (1, 1, 192, 192)"),
    (wrong_size, 4033, "takes 'slices' float32 (n, 3, 96, 96) and gives"),
    (free_size, 4033, "takes 'slices' float32 (n, 3, rows, columns) and gives"),
    (wrong_type, 4033, "takes 'slices' float16 (n, 3, 192, 192) and gives"),
    (extra_input, 4033, "takes 'slices' float32 (n, 3, 192, 192), 'mask' float32 (n, 1, 192, 192) and"),
    (no_shape, 4033, "takes 'slices' float32 () and gives"),
    (new_opset, 4049, f"has opset {OPSETS[1] + 1} and IR version"),
    (old_opset, 4049, f"has opset {OPSETS[0] - 1} and IR version"),
    (new_ir, 4049, f"IR version {NEWEST_IR + 1}, this version of infnet knows opset"),
    (foreign, 4020, "is an ONNX model without 'infnet.manifest'"),
    (lung_network, 4020, "is the network that finds the lungs"),
    (takes_hu, 4048, "takes slices in HU and prepares them itself, for programs without Python"),
    (weights_beside, 4050, "keeps weights in other files (weights.bin is not there)"),
]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("change", "code", "told"), CHANGES, ids=lambda v: getattr(v, "__name__", ""))
def test_models_that_cannot_be_used(
    change: Change, code: int, told: str, backend: str, tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path = changed(tmp_path / "model.onnx", change)
    with pytest.raises(ModelError) as caught:
        open_session(path, backend=backend, device="cpu", threads=1)
    assert (caught.value.code, caught.value.exit_code) == (code, 4)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def safetensors(path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


OTHER_FILES: list[tuple[Callable[[Path], object], int, str]] = [
    (safetensors, 4034, "holds training weights, expected an ONNX model; make one with: infnet-export"),
    (zipped, 4034, "holds training weights"),
    (lambda path: path.write_bytes(pickle.dumps({}, protocol=2)), 4034, "holds training weights"),
    (lambda path: path.write_bytes(b"ftrt" + bytes(500)), 4052, "is a TensorRT engine under another name"),
    (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        4053,
        "is a pointer of Git LFS, not the model itself; fetch it with: git lfs pull",
    ),
    (lambda path: path.write_text("<!DOCTYPE html><p>Not found"), 4053, "is a text or web page"),
    (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(50)), 4053, "is packed with gzip"),
    (lambda path: path.write_bytes(b""), 4031, "is empty (0 bytes)"),
    (lambda path: path.write_bytes(b"hello, this is no model"), 4031, "is no ONNX model"),
]


@pytest.mark.parametrize("case", range(len(OTHER_FILES)))
def test_files_of_other_kinds(case: int, tmp_path: Path) -> None:
    write, code, told = OTHER_FILES[case]
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(ModelError) as caught:
        open_session(path, device="cpu")
    assert (caught.value.code, caught.value.exit_code) == (code, 4)
    assert f"{path} {told}" in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.95, 0.999])
def test_a_model_that_is_cut_off(share: float, tmp_path: Path) -> None:
    whole = mid_grey_detector(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: max(3, int(len(whole) * share))])
    with pytest.raises(ModelError, match=r"\[INF-4051\] .*cut.onnx is cut off"):
        open_session(path, device="cpu")


def test_the_hu_graph_says_which_file_to_take(tmp_path: Path) -> None:
    path = changed(tmp_path / "infnet.hu.onnx", takes_hu)
    with pytest.raises(ModelError, match="give the file without .hu of the same export"):
        recognised(path.read_bytes(), path)
    plain = mid_grey_detector(tmp_path / "infnet.onnx")
    with pytest.raises(ModelError, match=f"infnet prepares slices on its own: give {plain}$"):
        recognised(path.read_bytes(), path)


def test_the_command_ends_before_it_reads_the_scan(tmp_path: Path) -> None:
    path = changed(tmp_path / "fixed.onnx", fixed_everywhere)
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(b"no scan")
    done = CliRunner().invoke(app, [str(scan), "--model", str(path)])
    assert isinstance(done.exception, ModelError)
    assert done.exception.code == 4047


def test_facts_are_those_that_onnx_reads(tmp_path: Path) -> None:
    path = mid_grey_detector(tmp_path / "model.onnx")
    facts, model = read_facts(path.read_bytes()), onnx.load(path)
    assert (facts.ir_version, facts.opset) == (model.ir_version, model.opset_import[0].version)
    assert facts.nodes == len(model.graph.node)
    assert [str(p) for p in facts.inputs] == ["'slices' float32 (n, 3, 192, 192)"]
    assert [str(p) for p in facts.outputs] == ["'infection_probability' float32 (n, 1, 192, 192)"]
    assert facts.metadata == {p.key: p.value for p in model.metadata_props}
    assert recognised(path.read_bytes(), path) == Recognised(MANIFEST, None, outputs_given(MANIFEST))


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    """As files of before IR version 4 have them."""

    def listed(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )

    path = changed(tmp_path / "old.onnx", listed)
    with open_session(path, device="cpu") as session:
        assert session.manifest == MANIFEST
