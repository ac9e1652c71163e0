"""What a file computes in is told from its bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infnet_runtime.model.arithmetic import computed_in, form_of
from infnet_runtime.model.shipped import DEFAULT_INT8_MODEL, DEFAULT_MODEL
from tiny_models import mid_grey_detector

MODELS = Path(__file__).parents[3] / "models"


def changed(path: Path, *nodes: onnx.NodeProto) -> bytes:
    model = onnx.load(mid_grey_detector(path))
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float16), "stored"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), np.float32), "step"))
    return model.SerializeToString()


def test_forms(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    widened = helper.make_node("Cast", ["stored"], ["wide"], to=TensorProto.FLOAT)
    rounded = helper.make_node("Cast", ["slices"], ["half"], to=TensorProto.FLOAT16)
    quantised = helper.make_node("QuantizeLinear", ["slices", "step"], ["small"])
    assert form_of(changed(path)) == "float32"
    assert form_of(changed(path, widened)) == "float32", "weights that are only stored in half"
    assert form_of(changed(path, rounded)) == "float16"
    assert form_of(changed(path, rounded, quantised)) == "int8"


def test_the_shipped_files() -> None:
    assert form_of((MODELS / DEFAULT_MODEL).read_bytes()) == "float32"
    assert form_of((MODELS / DEFAULT_INT8_MODEL).read_bytes()) == "int8"


def test_no_model_has_no_form() -> None:
    with pytest.raises(ValueError, match="no graph"):
        form_of(b"")


def test_words() -> None:
    assert computed_in("float32", "bf16") == "bf16"
    assert computed_in("float16", "float16") == "float16"
    assert computed_in("int8", "float32") == "int8 + float32"
