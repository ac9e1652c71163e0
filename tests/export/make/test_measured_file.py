"""Measured numbers written into a model file that is there already."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from half_model import half_form, plain_file
from infnet_export.cli import app
from infnet_export.make.measured_file import with_metrics
from infnet_export.precision.borrowed import borrowing
from infnet_runtime.errors import InputError
from infnet_runtime.model.arithmetic import graph_bytes
from infnet_runtime.model.borrowed import BORROWED_KEY, read_whole
from infnet_runtime.model.facts import read_metadata
from infnet_runtime.model.half import passed_half
from infnet_runtime.model.judged import JUDGED_KEY
from infnet_runtime.model.manifest import METADATA_KEY, ManifestError
from infnet_runtime.model.manifest_file import manifest_of
from infnet_runtime.model.shipped import LUNG_MODEL
from infnet_runtime.model.slice_gate import SliceGate
from tiny_models import coarse_detector, recorded

GATE = SliceGate(mm2=150.0, sensitivity=0.95, specificity=0.8, slices=200)
SHIPPED = sorted(
    path for path in (Path(__file__).parents[3] / "models").glob("*.onnx") if path.name != LUNG_MODEL
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return recorded(coarse_detector(tmp_path / "model.onnx"), passed=("bf16",))


def test_the_manifest_gets_them_and_nothing_else_changes(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    numbers = tmp_path / "gate.json"
    numbers.write_text(json.dumps(GATE.metrics()))
    done = CliRunner().invoke(app, ["metrics", str(model), str(numbers)])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [str(model)]
    assert manifest_of(model).slice_gate == GATE
    after = model.read_bytes()
    assert graph_bytes(after) == graph_bytes(before)
    one, other = read_metadata(before), read_metadata(after)
    assert one.pop(METADATA_KEY) != other.pop(METADATA_KEY)
    assert one == other
    assert JUDGED_KEY in other


def test_numbers_are_added_and_replaced_and_the_source_stays(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.onnx"
    before = model.read_bytes()
    for values in ({"Dice": 0.5, **GATE.metrics()}, {"slice_gate_mm2": 90.0}):
        numbers = tmp_path / "numbers.json"
        numbers.write_text(json.dumps(values))
        source = target if target.exists() else model
        done = CliRunner().invoke(app, ["metrics", str(source), str(numbers), "-o", str(target)])
        assert done.exit_code == 0, done.exception
    assert manifest_of(target).metrics == {"Dice": 0.5, **GATE.metrics(), "slice_gate_mm2": 90.0}
    assert model.read_bytes() == before


def test_what_cannot_be_leaves_the_file_as_it_was(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    for text, error, code in (
        (json.dumps(GATE.metrics() | {"slice_gate_mm2": -1.0}), ManifestError, 4023),
        ('{"slice_gate_mm2": "wide"}', InputError, 3123),
    ):
        numbers = tmp_path / "numbers.json"
        numbers.write_text(text)
        done = CliRunner().invoke(app, ["metrics", str(model), str(numbers)])
        assert isinstance(done.exception, error)
        assert done.exception.code == code
        assert model.read_bytes() == before


def test_a_file_that_borrows_its_weights_stays_small_and_valid(tmp_path: Path) -> None:
    plain = plain_file(tmp_path / "infnet.onnx")
    half = plain.with_name("infnet.fp16.onnx")
    half.write_bytes(half_form(plain))
    recorded(half, passed=("float16",))
    half.write_bytes(borrowing(half.read_bytes(), plain.read_bytes(), plain.name))
    size = half.stat().st_size
    for path in (plain, half):  # the lender first: its hash is named
        path.write_bytes(with_metrics(path, GATE.metrics()))
        assert manifest_of(path).slice_gate == GATE
    assert half.stat().st_size < size + 1000
    assert read_whole(half)
    assert passed_half(plain)[0] == half


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_take_numbers(path: Path, tmp_path: Path) -> None:
    """In a copy: what they say without the numbers is what they said before, byte for byte."""
    for other in SHIPPED:
        (tmp_path / other.name).symlink_to(other)
    content = with_metrics(tmp_path / path.name, {})
    before, after = read_metadata(path.read_bytes()), read_metadata(content)
    assert after[METADATA_KEY] == before[METADATA_KEY]
    assert {k: v for k, v in after.items() if k != BORROWED_KEY} == {
        k: v for k, v in before.items() if k != BORROWED_KEY
    }
    (tmp_path / path.name).unlink()
    (tmp_path / path.name).write_bytes(content)
    assert graph_bytes(read_whole(tmp_path / path.name)) == graph_bytes(read_whole(path))
