"""A form without the weights that the plain file has: put together again it is the whole form."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from half_model import PROMISED, SIZE, half_form, plain_file
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.precision.borrowed import borrowing
from infnet_runtime.backends import open_session
from infnet_runtime.errors import ModelError
from infnet_runtime.model.borrowed import BORROWED_KEY, borrows, read_whole
from infnet_runtime.model.manifest_file import manifest_of
from tiny_models import alone


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return plain_file(tmp_path / "infnet.onnx")


@pytest.fixture
def whole(plain: Path) -> bytes:
    return half_form(plain)


@pytest.fixture
def small(plain: Path, whole: bytes) -> Path:
    path = plain.with_name("infnet.fp16.onnx")
    path.write_bytes(borrowing(whole, plain.read_bytes(), plain.name))
    return path


def test_the_two_files_are_the_whole_one_byte_for_byte(small: Path, whole: bytes, plain: Path) -> None:
    assert read_whole(small) == whole
    assert read_whole(plain) == plain.read_bytes()
    assert borrows(small.read_bytes())
    assert not borrows(whole)
    larger = 96 * 96 * 9 * 2
    assert len(whole) - len(small.read_bytes()) > 0.99 * larger
    assert manifest_of(small) == PROMISED


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_backend_gives_the_bytes_of_the_whole_file(small: Path, whole: bytes, backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    batch = np.random.default_rng(1).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    elsewhere = small.parent / "alone"
    elsewhere.mkdir()
    (elsewhere / "whole.onnx").write_bytes(whole)
    found = []
    for path in (small, elsewhere / "whole.onnx"):
        with open_session(path, backend=backend, device="cpu", threads=1) as session:
            found.append((alone(session, batch), session.model_sha256, session.precision))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    assert found[0][0].std() > 0.01


def test_masks_are_those_of_the_plain_file_but_for_rounding(small: Path, plain: Path) -> None:
    batch = np.random.default_rng(1).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    results = []
    for path in (plain, small):
        with open_session(path, device="cpu", backend="onnxruntime", threads=1) as session:
            results.append(alone(session, batch))
    distance = np.abs(results[0] - results[1])
    assert 0 < distance.max() < 5e-3
    assert ((results[0] >= 0.5) != (results[1] >= 0.5)).mean() < 5e-3


def test_another_file_beside_it_is_refused(small: Path) -> None:
    plain_file(small.with_name("infnet.onnx"), seed=1)
    with pytest.raises(ModelError, match=r"made for another infnet\.onnx .* --fp16 --borrow") as caught:
        open_session(small, device="cpu", threads=1)
    assert (caught.value.code, caught.value.exit_code) == (4068, 4)


def test_a_file_alone_is_refused(small: Path) -> None:
    small.with_name("infnet.onnx").unlink()
    with pytest.raises(
        ModelError, match=r"takes its weights from infnet\.onnx beside it, .*No such"
    ) as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4067


def test_one_changed_byte_is_found(small: Path) -> None:
    content = bytearray(small.read_bytes())
    content[content.index(b"second/Relu")] ^= 1
    small.write_bytes(content)
    with pytest.raises(ModelError, match="or is damaged") as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4068


def changed(small: Path, **says: str) -> None:
    model = onnx.load_model_from_string(small.read_bytes())
    (entry,) = (p for p in model.metadata_props if p.key == BORROWED_KEY)
    entry.value = json.dumps(json.loads(entry.value) | says)
    small.write_bytes(model_bytes(model))


@pytest.mark.parametrize(
    "name",
    [
        "../infnet.onnx",
        "/etc/passwd",
        "a/infnet.onnx",
        "a\\infnet.onnx",
        "..",
        "",
        "infnet.fp16.onnx",
        "x.bin",
    ],
)
def test_only_another_model_of_the_same_folder_lends(small: Path, name: str) -> None:
    changed(small, file=name)
    with pytest.raises(
        ModelError, match="of the weights that it takes from another file cannot be right"
    ) as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4069


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "99999999"), ("offset", "-1"), ("length", "0"), ("length", "x")]
)
def test_weights_lie_inside_the_other_file(small: Path, key: str, value: str) -> None:
    model = onnx.load_model_from_string(small.read_bytes())
    (tensor,) = (t for t in model.graph.initializer if t.external_data)
    (entry,) = (e for e in tensor.external_data if e.key == key)
    entry.value = value
    small.write_bytes(model_bytes(model))
    with pytest.raises(ModelError, match="cannot be right") as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4069


def test_weights_in_a_third_file_stay_refused(small: Path) -> None:
    """What is put together then still keeps weights elsewhere, and is not the whole file either."""
    model = onnx.load_model_from_string(small.read_bytes())
    (tensor,) = (t for t in model.graph.initializer if t.external_data)
    (entry,) = (e for e in tensor.external_data if e.key == "location")
    entry.value = "other.onnx"
    small.write_bytes(model_bytes(model))
    with pytest.raises(ModelError) as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4068


def test_a_file_that_does_not_say_so_borrows_nothing(small: Path) -> None:
    model = onnx.load_model_from_string(small.read_bytes())
    kept = {p.key: p.value for p in model.metadata_props if p.key != BORROWED_KEY}
    helper.set_model_props(model, kept)
    small.write_bytes(model_bytes(model))
    with pytest.raises(ModelError, match="keeps weights in other files") as caught:
        open_session(small, device="cpu", threads=1)
    assert caught.value.code == 4050
