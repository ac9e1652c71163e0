"""A tiny network of convolutions whose weights are stored in half precision, and its FP16 form."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from infnet_export.graph.onnx_file import model_bytes, read_onnx, set_manifest
from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.float16 import to_float16
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.model.manifest import ModelManifest, PreprocessSpec

SIZE = 32
PROMISED = ModelManifest(
    name="convolutions",
    version="1",
    licence="test",
    training_data="none",
    weights_sha256="0" * 64,
    preprocess=PreprocessSpec(size=SIZE),
)


def plain_file(path: Path, *, seed: int = 0) -> Path:
    """A model of two convolutions, the larger stored in half precision as the shipped one is."""
    random = np.random.default_rng(seed)
    weights = {
        "first.weight": random.normal(size=(96, 3, 5, 5)).astype(np.float32) / 30,
        "second.weight": random.normal(size=(96, 96, 3, 3)).astype(np.float32) / 30,
        "last.weight": random.normal(size=(1, 96, 1, 1)).astype(np.float32) / 10,
    }
    nodes = [
        helper.make_node("Conv", ["slices", "first.weight"], ["a"], name="first/Conv", pads=[2] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="first/Relu"),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], name="second/Conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], name="second/Relu"),
        helper.make_node("Conv", ["d", "last.weight"], ["e"], name="last/Conv"),
        helper.make_node("Sigmoid", ["e"], ["infection_probability"], name="last/Sigmoid"),
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, SIZE, SIZE])
        for name, channels in (("slices", 3), ("infection_probability", 1))
    ]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "convolutions", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    set_manifest(model, PROMISED)
    path.write_bytes(model_bytes(with_half_weights(model)[0]))
    return path


def half_form(plain: Path) -> bytes:
    """The FP16 form of a file."""
    return model_bytes(to_float16(read_onnx(plain)[0], KeepFp32())[0])
