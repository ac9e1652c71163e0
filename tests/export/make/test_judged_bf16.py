"""A model file is judged in bf16: what passes is recorded in it, and no other byte moves."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from builders import chest_phantom, write_nifti
from infnet_export.cli import app
from infnet_export.graph.inspection import inspect_model
from infnet_export.graph.onnx_file import model_bytes, with_metadata
from infnet_export.make.judged_bf16 import JudgedBf16, judge_bf16
from infnet_export.make.products import make
from infnet_export.make.start import start_from_onnx
from infnet_export.make.wanted import Wanted
from infnet_export.precision.choice import KeepFp32
from infnet_export.precision.float16 import to_float16
from infnet_runtime.errors import GateError, InputError, ModelError
from infnet_runtime.model.arithmetic import graph_bytes
from infnet_runtime.model.facts import read_facts
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, judgement, subject_of
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.model.recognise import recognised
from tiny_models import MANIFEST, mid_grey_detector, recorded

# 0.5025 is no number of bfloat16, and the nearest, 0.5, lies below this threshold.
AT_THE_EDGE = replace(MANIFEST, outputs=(OutputSpec(thresholds=(0.502,)),)).to_json()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name, infected in (("ill", True), ("worse", True), ("healthy", False)):
        phantom = chest_phantom(infected=infected)
        write_nifti(folder / f"{name}.nii.gz", phantom.hu, phantom.affine)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mid_grey_detector(tmp_path / "m.onnx")


def judged(path: Path, *paths: Path, reference: Path | None = None) -> JudgedBf16:
    content = path.read_bytes()
    return judge_bf16(content, (reference or path).read_bytes(), paths, path.name)


def record_of(content: bytes) -> Judgement:
    path = Path("m.onnx")
    return judgement(read_facts(content).metadata, content, recognised(content, path).manifest, "bf16", path)


def test_what_passes_is_recorded_and_nothing_else_changes(model: Path, scans: Path) -> None:
    before = model.read_bytes()
    found = judged(model, scans)
    assert found.fault is None
    assert list(found.gate.sets) == ["healthy.nii.gz", "ill.nii.gz", "worse.nii.gz"]
    figures = record_of(found.content)
    assert figures == found.judgement
    assert figures.scans == 3
    assert figures.smallest_dice == round(min(one.agreement for one in found.gate.sets.values()), 5)
    assert figures.infection_ml > 100
    assert figures.reference_sha256 == subject_of(before, MANIFEST)
    assert graph_bytes(found.content) == graph_bytes(before)
    assert with_metadata(found.content, JUDGED_KEY, None) == before
    assert onnx.load_model_from_string(found.content).graph == onnx.load(model).graph


def test_another_judgement_takes_the_place_of_the_first(model: Path, scans: Path) -> None:
    found = judged(recorded(model), scans)
    assert record_of(found.content).method.startswith("rounded to bfloat16 between the layers, ONNX Runtime ")
    keys = [p.key for p in onnx.load_model_from_string(found.content).metadata_props]
    assert keys.count(JUDGED_KEY) == 1


def test_what_fails_loses_its_record(tmp_path: Path, scans: Path) -> None:
    path = mid_grey_detector(tmp_path / "edge.onnx", manifest=AT_THE_EDGE, scale=0.5025)
    found = judged(recorded(path), scans)
    assert found.fault is not None
    assert found.fault.code == 7034
    assert "edge.onnx stays without a record and runs in single precision" in str(found.fault)
    with pytest.raises(ModelError, match="INF-4060"):
        record_of(found.content)


def test_scans_that_say_nothing_judge_nothing(model: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"INF-3120\] 1 volumes of 1 different names to judge bf16 on, expected"
    ):
        judged(model, scans / "ill.nii.gz")
    with pytest.raises(InputError, match="INF-3120"):
        judged(model, scans / "ill.nii.gz", scans / "ill.nii.gz")
    with pytest.raises(GateError, match=r"INF-7033\] the model marks more than 1 ml in 1 of 2 scans"):
        judged(model, scans / "ill.nii.gz", scans / "healthy.nii.gz")


def test_files_of_other_forms_are_refused(model: Path, scans: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(model_bytes(to_float16(onnx.load(model), KeepFp32(output_maps=False))[0]))
    with pytest.raises(
        ModelError, match=r"INF-4063\] half.onnx computes in float16; expected a file in single"
    ):
        judged(half, scans, reference=model)
    with pytest.raises(ModelError, match=r"INF-4064\] m.onnx would be compared with a file in float16; give"):
        judged(model, scans, reference=half)


def test_the_command_writes_the_record_into_the_file(model: Path, scans: Path) -> None:
    done = CliRunner().invoke(app, ["judge", str(model), "--verify", str(scans), "--threads", "1"])
    assert done.exit_code == 0, done.exception
    assert done.stdout == f"{model}\n"
    assert "bf16: imitating it in m.onnx" in done.stderr
    assert record_of(model.read_bytes()).scans == 3
    report = model.with_name("m.bf16.md").read_text()
    assert report.startswith("## m.onnx in bfloat16")
    assert "against the file in single precision: passed, and is recorded in it." in report
    assert "| healthy.nii.gz | 1 | not labelled" in report
    found = inspect_model(model)
    assert found.bf16 == record_of(model.read_bytes())
    assert "may be computed in: on 3 scans masks agree" in found.to_text()


def test_a_command_that_fails_says_so_and_writes_to_another_place(tmp_path: Path, scans: Path) -> None:
    path = mid_grey_detector(tmp_path / "edge.onnx", manifest=AT_THE_EDGE, scale=0.5025)
    before, target = path.read_bytes(), tmp_path / "out" / "judged.onnx"
    arguments = ["judge", str(path), "--verify", str(scans), "-o", str(target), "--json", "-q"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, GateError)
    assert json.loads(done.stdout)["passed"] is False
    assert path.read_bytes() == target.read_bytes() == before
    assert "did not pass, and runs in single precision" in (target.parent / "judged.bf16.md").read_text()
    assert "no record that it may be computed in" in inspect_model(target).to_text()


def test_an_export_judges_its_files_too(model: Path, scans: Path, tmp_path: Path) -> None:
    """And what is made of a file with a record has none of its own."""
    start = start_from_onnx(recorded(model), "m")
    made = make(start, tmp_path / "out", Wanted(bf16=True, hu=(64, 64), verify=scans))
    assert made.failed == {}
    assert record_of(made.files["onnx"].read_bytes()).scans == 3
    assert "## m.onnx in bfloat16" in made.files["parity_table"].read_text()
    assert made.to_plain()["bf16"]["m.onnx"]["passed"] is True
    assert JUDGED_KEY not in {p.key for p in onnx.load(made.files["hu"]).metadata_props}


def test_an_export_keeps_a_file_that_fails_without_a_record(scans: Path, tmp_path: Path) -> None:
    path = mid_grey_detector(tmp_path / "m.onnx", manifest=AT_THE_EDGE, scale=0.5025)
    made = make(start_from_onnx(path, "m"), tmp_path / "out", Wanted(bf16=True, verify=scans))
    assert made.files["onnx"].read_bytes() == path.read_bytes()
    with pytest.raises(
        GateError, match=r"INF-7034\] bf16: m.onnx: the candidate is .* Kept: m.onnx; the report"
    ):
        made.check()
    text = made.files["parity_table"].read_text()
    assert "did not pass, and runs in single precision" in text
    assert "not written" not in text


def test_an_export_without_volumes_is_told_before_the_work(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="INF-3120"):
        make(start_from_onnx(model, "m"), tmp_path / "out", Wanted(bf16=True))
