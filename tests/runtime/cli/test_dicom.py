"""DICOM on the command line: the numbers of NIfTI, names without a patient, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import validate
from typer.testing import CliRunner

import dicom_world as world
from infnet_runtime.cli.batch import run_plan
from infnet_runtime.cli.case import CaseDone, CaseOptions
from infnet_runtime.cli.main import app
from infnet_runtime.cli.plan import plan_cases
from infnet_runtime.errors import InfnetError
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.io.nifti.voxels import read_labels
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.segment.segmenter import Segmenter, load
from tiny_models import mid_grey_detector

SCHEMA = Path(__file__).parents[3] / "runtime/infnet_runtime/report/quantification.schema.json"
PHANTOM = chest_phantom()
UID = str(world.slices()[0].SeriesInstanceUID)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


def infer(model: Path, *paths: Path, out: Path, allow_gaps: bool = False) -> list[CaseDone]:
    def opened() -> Segmenter:
        return load(model, backend="onnxruntime", device="cpu", threads=1)

    done: list[CaseDone] = []
    plan = plan_cases(paths, out=out, kinds=("mask", "probability"))
    run_plan(plan, CaseOptions(allow_gaps=allow_gaps), opened, done=done.append, failed=print, say=print)
    return done


def test_a_series_gives_the_numbers_and_the_mask_of_the_same_nifti(tmp_path: Path, model: Path) -> None:
    world.write(tmp_path / "series", world.slices(PHANTOM))
    write_nifti(tmp_path / "ct.nii.gz", PHANTOM.hu.transpose(2, 1, 0), world.affine(PHANTOM))
    dicom, nifti = infer(model, tmp_path / "series", tmp_path / "ct.nii.gz", out=tmp_path / "out")
    assert dicom.document["quantification"] == nifti.document["quantification"]
    masks = [read_labels(tmp_path / "out" / f"{name}.infection.nii.gz") for name in (UID, "ct")]
    assert np.array_equal(masks[0][1], masks[1][1])
    assert masks[0][1].any()
    assert np.array_equal(masks[0][0].affine, masks[1][0].affine)
    written = json.loads((tmp_path / "out" / f"{UID}.infnet.json").read_text())
    validate(written, json.loads(SCHEMA.read_text()))
    assert written["input"]["dicom"]["kernel"] == "B31f"
    assert written["input"]["dicom"]["gaps"] == []
    assert world.PLANTED not in json.dumps(written) + dicom.text


@pytest.mark.parametrize("include_phi", [False, True])
def test_the_patient_is_said_where_asked_for_and_nowhere_else(
    tmp_path: Path, model: Path, include_phi: bool
) -> None:
    world.write(tmp_path / "series", world.slices(PHANTOM))
    command = [str(tmp_path / "series"), "--model", str(model), "-o", str(tmp_path / "out"), "--report"]
    command += ["--montage", "--csv-regions", "--csv", str(tmp_path / "out/table.csv"), "-v"]
    ran = CliRunner().invoke(app, [*command, *(["--include-phi"] if include_phi else [])])
    assert ran.exit_code == 0, ran.output
    named = {
        path.name.removeprefix(f"{UID}.")
        for path in (tmp_path / "out").iterdir()
        if world.PLANTED.encode() in path.read_bytes()
    }
    assert named == ({"infnet.json", "report.html"} if include_phi else set())
    assert world.PLANTED not in ran.output
    written = json.loads((tmp_path / "out" / f"{UID}.infnet.json").read_text())
    validate(written, json.loads(SCHEMA.read_text()))
    assert written["input"].get("patient", {}).get("id") == ("Geheim-ID" if include_phi else None)


def test_a_mask_at_hand_says_the_patient_where_asked_for(tmp_path: Path) -> None:
    world.write(tmp_path / "ct", world.slices(PHANTOM))
    write_nifti(
        tmp_path / "mask.nii.gz", PHANTOM.infection.astype(np.uint8).transpose(2, 1, 0), world.affine(PHANTOM)
    )
    command = ["quantify", "--ct", str(tmp_path / "ct"), "--mask", str(tmp_path / "mask.nii.gz"), "--json"]
    for phi in (False, True):
        ran = CliRunner().invoke(app, [*command, *(["--include-phi"] if phi else [])])
        assert ran.exit_code == 0, ran.output
        document = json.loads(ran.stdout)
        assert (world.PLANTED in ran.stdout) is phi
        validate(document, json.loads(SCHEMA.read_text()))


def test_a_scan_without_a_patient_is_done_all_the_same(tmp_path: Path, model: Path) -> None:
    write_nifti(tmp_path / "ct.nii.gz", PHANTOM.hu.transpose(2, 1, 0), world.affine(PHANTOM))
    command = [str(tmp_path / "ct.nii.gz"), "--model", str(model), "--include-phi", "--json"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    assert "patient" not in json.loads(ran.stdout)["input"]


def test_gaps_are_in_the_report(tmp_path: Path, model: Path) -> None:
    single = world.slices(PHANTOM)
    world.write(tmp_path / "series", single[:9] + single[10:])
    (done,) = infer(model, tmp_path / "series", out=tmp_path / "out", allow_gaps=True)
    written = json.loads((tmp_path / "out" / f"{UID}.infnet.json").read_text())
    validate(written, json.loads(SCHEMA.read_text()))
    assert written["input"]["dicom"]["gaps"] == [
        {"after_slice": 9, "mm": 24.0, "missing": 1, "instance_uid": single[8].SOPInstanceUID}
    ]
    assert "slices_missing" in written["quantification"]["warnings"]
    assert "1 slice is missing (24 mm after slice 9" in done.text


def test_series_are_listed_without_patients(tmp_path: Path) -> None:
    world.write(tmp_path / "a", world.slices())
    world.write(
        tmp_path / "b", [world.localizer(world.slices()), *world.slices(series="Lung", kernel="B70f")[:4]]
    )
    (tmp_path / "b" / "lost.dcm").touch()
    listed = CliRunner().invoke(app, ["series", str(tmp_path)])
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    assert lines[0].startswith("study 1 (")
    assert any(f"series {UID}: 'Thorax', kernel B31f, thickness 40 mm, 6 slices" in line for line in lines)
    assert lines[-2:] == ["left out: 1 x localizer", "cannot be read: lost.dcm (named as DICOM, empty)"]
    document = json.loads(CliRunner().invoke(app, ["series", str(tmp_path), "--json"]).stdout)
    assert [one["slices"] for one in document["series"]] in ([6, 4], [4, 6])
    assert document["set_aside"] == {"localizer": 1}
    assert world.PLANTED not in listed.stdout + json.dumps(document)


def test_an_ambiguous_study_is_refused_with_a_list_and_writes_nothing(tmp_path: Path) -> None:
    world.write(tmp_path / "in", [*world.slices(), *world.slices(series="Lung")])
    done = CliRunner().invoke(app, [str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, InfnetError)
    assert done.exception.code == 3252
    assert UID in str(done.exception)
    assert world.PLANTED not in str(done.exception)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_of_other_objects_is_refused_by_their_names(tmp_path: Path) -> None:
    report = world.slices()[0]
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"  # Comprehensive SR
    world.write(tmp_path / "in", [report])
    with pytest.raises(InfnetError, match=r"INF-3251.*no CT series.*1 x Comprehensive SR"):
        raise (
            plan_cases([tmp_path / "in"], out=tmp_path / "out", kinds=("mask",)).cases[0].refusal
            or AssertionError
        )
    write_nifti(tmp_path / "in/ct.nii.gz", PHANTOM.hu.transpose(2, 1, 0), world.affine(PHANTOM))
    plan = plan_cases([tmp_path / "in"], out=tmp_path / "out", kinds=("mask",))
    assert [case.path.name for case in plan.cases] == ["ct.nii.gz"]
    assert "Comprehensive SR" in "".join(plan.notes)


def test_two_series_that_fail_are_told_apart(tmp_path: Path, model: Path) -> None:
    uids = []
    for name in ("one", "other"):
        series = world.slices(PHANTOM, series=name)
        del series[3]
        uids.append(str(series[0].SeriesInstanceUID))
        world.write(tmp_path / "in" / name, series)
    command = [str(tmp_path / "in"), "--model", str(model), "-o", str(tmp_path / "out"), "--json"]
    ran = CliRunner().invoke(app, [*command, *(f"--series={uid}" for uid in uids)])
    documents = [json.loads(line) for line in ran.stdout.splitlines()]
    for document in documents:
        validate(document, json.loads(SCHEMA.with_name("failure.schema.json").read_text()))
    assert [document["error"]["code"] for document in documents] == [3260, 3260]
    assert [document["input"]["series_uid"] for document in documents] == uids
