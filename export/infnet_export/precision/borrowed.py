"""A form of a model without the weights that the plain file has, which the runtime takes from there."""

import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper

from infnet_export.graph.onnx_file import model_bytes
from infnet_runtime.model.borrowed import BORROWED_KEY, Lender, put_together
from infnet_runtime.model.protobuf import parts

_GRAPH, _WEIGHT, _RAW = 7, 5, 9  # of a model, a graph and a weight; the numbers of onnx.proto
_SMALLEST = 1024  # bytes; below it saying where a weight lies takes as much as the weight


def borrowing(content: bytes, lender: bytes, name: str) -> bytes:
    """The form as a small file, to lie beside the file that it takes its weights from.

    Parameters
    ----------
    content
        Of the form.
    lender, name
        Content and name of the plain file.
    """
    places = _places(lender)
    model = onnx.load_model_from_string(content)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _SMALLEST and tensor.raw_data in places:
            offset, length = places[tensor.raw_data], len(tensor.raw_data)
            tensor.ClearField("raw_data")
            for key, value in (("location", name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
            tensor.data_location = TensorProto.EXTERNAL
    says = Lender(
        file=name,
        sha256=hashlib.sha256(lender).hexdigest(),
        whole_sha256=hashlib.sha256(content).hexdigest(),
    )
    properties = {p.key: p.value for p in model.metadata_props}
    helper.set_model_props(model, {**properties, BORROWED_KEY: says.to_json()})
    small = model_bytes(model)
    assert put_together(small, lender, name) == content  # or no runtime would take it
    return small


def _places(content: bytes) -> dict[bytes, int]:
    """Bytes of each weight of a file to where they begin in it."""
    start = _address(memoryview(content))
    (graph,) = parts(memoryview(content), _GRAPH)
    weights = (parts(weight, _RAW) for weight in parts(graph, _WEIGHT))
    return {bytes(raw[0]): _address(raw[0]) - start for raw in weights if raw and len(raw[0])}


def _address(content: memoryview) -> int:
    return int(np.frombuffer(content, np.uint8).ctypes.data)
