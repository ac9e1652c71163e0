"""Coarse logits in the files that are made, and in a file that is there already."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.coarse_logits import coarse_in, with_coarse_logits
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.make import coarse_file as coarse_module
from infnet_export.make.coarse_file import coarse_file
from infnet_export.make.products import make
from infnet_export.make.start import start_from_onnx
from infnet_export.make.wanted import Wanted
from infnet_export.triton import TritonSettings, write_triton
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.metrics.parity import Tolerance
from tiny_models import COARSE, coarse_detector, mid_grey_detector


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return coarse_detector(tmp_path / "plain.onnx", coarse=False, gain=20.0)


def changed(path: Path) -> bytes:
    return model_bytes(with_coarse_logits(onnx.load(path)))


def test_a_file_gets_them_and_nothing_else_changes(plain: Path, tmp_path: Path) -> None:
    output = tmp_path / "coarse.onnx"
    done = CliRunner().invoke(app, ["coarse-logits", str(plain), "-o", str(output)])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [str(output)]
    assert "the full map is the same to the bit" in done.stderr
    assert output.read_bytes() == changed(plain)


def test_a_file_that_cannot_have_them_is_refused(plain: Path, tmp_path: Path) -> None:
    told = r"\[INF-4056\] .* cannot be given coarse logits: it does not end with a linear resize"
    with pytest.raises(ModelError, match=told):
        coarse_file(mid_grey_detector(tmp_path / "fine.onnx"))
    again = tmp_path / "again.onnx"
    again.write_bytes(coarse_file(plain)[0])
    with pytest.raises(ModelError, match=r"\[INF-4056\] .* it has them already; it runs as it is"):
        coarse_file(again)


def test_what_differs_is_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse_module, "ENLARGED_TOLERANCE", Tolerance(largest=-1, mean=1))
    with pytest.raises(GateError, match=r"\[INF-7003\] .* differs from its full map in a probability by"):
        coarse_file(plain)
    seen: list[FloatArray] = []

    def another_each_time(session: object, batch: FloatArray) -> FloatArray:
        seen.append(batch)
        return np.full((len(batch), 8, 8), len(seen) / 4, np.float32)

    monkeypatch.setattr(coarse_module, "infection_probability", another_each_time)
    with pytest.raises(GateError, match=r"\[INF-7003\] .* gives another full map, by 0.25"):
        coarse_file(plain)


def test_every_form_has_them_and_is_compared(plain: Path, tmp_path: Path) -> None:
    made = make(start_from_onnx(plain, "m"), tmp_path / "out", Wanted(hu=(200, 220)))
    made.check()
    assert made.files["onnx"].read_bytes() == changed(plain)
    assert coarse_in(onnx.load(made.files["onnx"])) == COARSE
    assert coarse_in(onnx.load(made.files["hu"])) is None
    report = json.loads(made.files["parity_json"].read_text())
    rows = [f for f in report["forms"] if "coarse logits enlarged" in f["name"]]
    assert len(rows) == 1 + bool(find_spec("openvino"))
    assert all(row["passed"] and row["worst"]["largest_distance"] < 1e-5 for row in rows)
    assert all(row["worst"]["undecided"] > 0 for row in rows), "nothing was compared"


def test_a_start_that_has_them_gives_the_same_files(plain: Path, tmp_path: Path) -> None:
    coarse = tmp_path / "coarse.onnx"
    coarse.write_bytes(changed(plain))
    first, second = (
        make(start_from_onnx(path, "m"), tmp_path / path.stem, Wanted()) for path in (plain, coarse)
    )
    assert first.files["onnx"].read_bytes() == second.files["onnx"].read_bytes()


def test_they_are_left_out_where_they_are_not_wanted(plain: Path, tmp_path: Path) -> None:
    coarse = tmp_path / "coarse.onnx"
    coarse.write_bytes(changed(plain))
    arguments = [str(coarse), "-o", str(tmp_path / "out" / "m.onnx"), "--no-coarse-logits", "--quiet"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "out" / "m.onnx").read_bytes() == plain.read_bytes()


def test_a_form_too_far_from_its_full_map_is_not_written(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infnet_export.make.comparison.ENLARGED_TOLERANCE", Tolerance(largest=-1, mean=1))
    made = make(start_from_onnx(plain, "m"), tmp_path / "out", Wanted())
    with pytest.raises(GateError, match=r"coarse logits enlarged, against its full map differs in a prob"):
        made.check()
    assert not (tmp_path / "out" / "m.onnx").exists()


def test_a_server_is_given_the_file_without(plain: Path, tmp_path: Path) -> None:
    coarse = tmp_path / "coarse.onnx"
    coarse.write_bytes(changed(plain))
    written = [write_triton(path, tmp_path / path.stem, TritonSettings(name="m")) for path in (plain, coarse)]
    configs, models = (
        [(w / name).read_bytes() for w in written] for name in ("config.pbtxt", "1/model.onnx")
    )
    assert configs[0] == configs[1]
    assert models[0] == models[1] == plain.read_bytes()
