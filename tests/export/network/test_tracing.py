"""The exported graph: complete in one file, clean, and readable without PyTorch."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

import infnet_train
from infnet_export.graph.onnx_file import model_bytes, operators
from infnet_export.make.from_network import manifest_of
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest
from infnet_train.weights.trained import TrainedNetwork
from twin import CARD, SIZE

PROVIDERS = ["CPUExecutionProvider"]
# The network as trained has 530 nodes, 157 of them normalisations; test_graph_cost counts them.
OPERATORS = {
    "Conv": 141,
    "Relu": 93,
    "Add": 45,
    "Concat": 24,
    "Split": 19,
    "AveragePool": 7,
    "Resize": 7,
    "Mul": 6,
    "Sigmoid": 4,
    "Sub": 3,
    "MaxPool": 1,
}
# Stack traces and paths, which PyTorch's exporter writes into a model.
FOREIGN = (b"stack_trace", b".py", b"site-packages", b"infnet_train", b"torch.nn", b"pkg.torch", b"\nFile")


@pytest.fixture(scope="module")
def file(fp32_model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(model_bytes(fp32_model))
    return path


def test_operators(fp32_model: onnx.ModelProto) -> None:
    assert operators(fp32_model) == OPERATORS


def test_pools_do_not_round_up(fp32_model: onnx.ModelProto) -> None:
    pools = [n for n in fp32_model.graph.node if n.op_type == "AveragePool"]
    attributes = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in pools]
    assert all(a.get("ceil_mode", 0) == 0 for a in attributes)
    assert all(list(a["kernel_shape"]) != [1, 1] for a in attributes)


def test_nodes_are_named_after_their_modules(fp32_model: onnx.ModelProto) -> None:
    names = [n.name for n in fp32_model.graph.node]
    assert len(set(names)) == len(names)
    assert {"backbone.layer1.0.conv1/Conv", "partial_decoder.conv5/Conv", "partial_decoder/Mul_3"} <= set(
        names
    )
    assert {"rfb3.reduce/Conv", "rfb3.reduce/Split", "backbone.layer1.1.relu/Split"} <= set(names)
    assert "Split" not in names
    weights = {t.name for t in fp32_model.graph.initializer}
    assert {"backbone.stem.0.weight", "partial_decoder.conv5.bias"} <= weights


def test_equal_weights_are_stored_once(fp32_model: onnx.ModelProto) -> None:
    arrays = [numpy_helper.to_array(t) for t in fp32_model.graph.initializer]
    contents = Counter((a.dtype.str, a.shape, a.tobytes()) for a in arrays)
    assert contents.most_common(1)[0][1] == 1
    used = {i for node in fp32_model.graph.node for i in node.input}
    assert {t.name for t in fp32_model.graph.initializer} <= used


def test_one_file_without_external_data(fp32_model: onnx.ModelProto, file: Path) -> None:
    assert [p.name for p in file.parent.iterdir()] == ["model.onnx"]
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in fp32_model.graph.initializer)
    assert 124e6 < file.stat().st_size < 126e6


def foreign_text(content: bytes) -> list[bytes]:
    folders = {
        str(Path(m).parents[1]).encode() for m in (__file__, torch.__file__, str(infnet_train.__file__))
    }
    return [text for text in (*FOREIGN, *folders) if text in content]


def test_no_local_path_and_no_stack_trace(fp32_model: onnx.ModelProto) -> None:
    light = onnx.ModelProto()
    light.CopyFrom(fp32_model)
    del light.graph.initializer[:]  # random numbers may spell anything
    light.graph.initializer.extend(onnx.TensorProto(name=t.name) for t in fp32_model.graph.initializer)
    assert foreign_text(light.SerializeToString()) == []
    light.graph.node[0].doc_string = f'File "{__file__}", line 1'
    assert len(foreign_text(light.SerializeToString())) == 2


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_is_free(file: Path, batch: int) -> None:
    session = onnxruntime.InferenceSession(file, providers=PROVIDERS)
    (entry,), (output,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape) == ("slices", "tensor(float)", ["n", 3, SIZE, SIZE])
    assert (output.name, output.shape) == ("infection_probability", ["n", 1, SIZE, SIZE])
    (found,) = session.run(None, {"slices": np.zeros((batch, 3, SIZE, SIZE), np.float32)})
    assert found.shape == (batch, 1, SIZE, SIZE)
    assert 0 <= found.min() <= found.max() <= 1


def test_manifest_comes_back(file: Path, trained: TrainedNetwork) -> None:
    session = onnxruntime.InferenceSession(file, providers=PROVIDERS)
    text = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    manifest = ModelManifest.from_json(text, source=str(file))
    assert manifest == manifest_of(trained, CARD)
    assert manifest.weights_sha256 == trained.weights_sha256
    assert manifest.preprocess.size == SIZE
    assert manifest.output.threshold == pytest.approx(0.4)
    assert set(manifest.created_with) == {"infnet", "torch", "onnx"}


def test_manifest_is_read_without_torch(file: Path) -> None:
    code = f"""
import sys, onnxruntime
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest
session = onnxruntime.InferenceSession({str(file)!r}, providers={PROVIDERS})
text = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
print(ModelManifest.from_json(text, source="model").name, "torch" in sys.modules, "onnx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["twin", "False", "False"]
