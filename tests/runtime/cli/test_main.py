"""The command: files beside the input, a short summary, errors as one line with an exit code."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import fake_tensorrt
from builders import chest_phantom, reorient, write_nifti
from infnet_runtime.backends.tensorrt.runner import EngineRunner
from infnet_runtime.backends.tensorrt.session import TensorRtSession
from infnet_runtime.cli.main import main
from infnet_runtime.io.images import CLASS_COLOURS
from infnet_runtime.model.slice_gate import SliceGate
from plain_device import PlainGpu
from quantified import check_report, schema
from tiny_models import MANIFEST, classes_detector, mid_grey_detector


def run(*arguments: object, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """The command as a user starts it."""
    command = [sys.executable, "-m", "infnet_runtime.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})


def run_here(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The same in this process, where what it does to one does not matter."""
    command = ["infnet-infer", *map(str, arguments)]
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as left:
                main()
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
    assert left.value.code is None or isinstance(left.value.code, int)
    return subprocess.CompletedProcess(command, left.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, "RAS")
    return write_nifti(tmp_path / "scan.nii.gz", stored, affine)


def test_results_lie_beside_the_input(scan: Path, model: Path) -> None:
    done = run(scan, "--model", model)
    assert done.returncode == 0, done.stderr
    ct, mask = nib.load(scan), nib.load(scan.parent / "scan.infection.nii.gz")
    assert mask.shape == ct.shape
    assert np.array_equal(mask.affine, ct.affine)
    for code in ("qform_code", "sform_code"):
        assert mask.header[code] == ct.header[code]
    assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}
    report = json.loads((scan.parent / "scan.infnet.json").read_text())
    truth = chest_phantom()
    assert report["schema"] == "infnet.quantification/2"
    assert report["quantification"]["both"]["infection_ml"] == pytest.approx(truth.infection_ml, rel=0.06)
    assert report["quantification"]["left"]["infection_ml"] == 0
    assert report["provenance"]["device"] == "cpu"
    assert report["provenance"]["precision"] == "float32"
    assert len(report["provenance"]["model_sha256"]) == 64
    lines = done.stdout.splitlines()
    heads = [line.split()[0] for line in lines]
    assert heads[:6] == ["scan", "slices", "lungs", "infection", "network", "written"]
    assert set(heads[6:]) == {"WARNING"}  # the phantom's pixels are coarse
    assert "scan.infection.nii.gz" in lines[5]
    assert done.stderr == ""


def test_batch_size_says_what_runs_at_once_and_not_what_is_handed_over(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is handed one block at a time runs on one lane, and nothing overlaps."""
    gpu = PlainGpu()
    plan = fake_tensorrt.Plan(fake_tensorrt.sidecar(), gpu)
    engine = fake_tensorrt.write_engine(tmp_path / "m.plan", plan.described)
    monkeypatch.setattr(fake_tensorrt, "expected", lambda batch, channels: np.zeros((1, 1, 1, 1), np.float32))
    monkeypatch.setattr(
        "infnet_runtime.backends.tensorrt.session.TensorRtSession",
        partial(
            TensorRtSession,
            load=fake_tensorrt.fake_tensorrt(plan),
            gpu=lambda index: fake_tensorrt.GPU,
            device=gpu.open,
        ),
    )
    calls: list[int] = []
    run_lanes = EngineRunner.run

    def heard(runner: EngineRunner, batch: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(batch))
        return run_lanes(runner, batch)

    monkeypatch.setattr(EngineRunner, "run", heard)
    done = run_here(scan, "--model", engine, "-b", "2")
    assert done.returncode == 0, done.stderr
    assert set(plan.batches_run) == {1, 2}
    assert calls[0] == 8, "four blocks in a call"


def test_two_runs_give_the_same_bytes(scan: Path, model: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run(scan, "--model", model, "-o", tmp_path / folder, "-q").returncode == 0
    one, two = (tmp_path / f / "scan.infection.nii.gz" for f in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()


def test_json_goes_to_stdout_as_one_line_for_each_scan(scan: Path, model: Path, tmp_path: Path) -> None:
    other = scan.rename(tmp_path / "other.nii.gz")
    (tmp_path / "broken.nii").write_bytes(b"x" * 2000)
    out = tmp_path / "out"
    done = run_here(tmp_path / "broken.nii", other, "gone.nii", "--model", model, "--json", "-o", out)
    assert done.returncode == 6
    broken, report, gone = map(json.loads, done.stdout.splitlines())
    check_report(report)
    for failure in (broken, gone):
        Draft202012Validator(schema("failure")).validate(failure)
    assert broken["schema"] == gone["schema"] == "infnet.failure/1"
    assert broken["input"] == {"file": "broken.nii", "path": str(tmp_path / "broken.nii")}
    assert [line["error"]["code"] for line in (broken, gone)] == [3010, 3001]
    assert "gone.nii; check the spelling" in gone["error"]["message"]
    assert report["outputs"] == {"mask": "other.infection.nii.gz"}
    assert report["written"] == [str(out / "other.infection.nii.gz"), str(out / "other.infnet.json")]
    written = json.loads((out / "other.infnet.json").read_text())
    assert {key: value for key, value in report.items() if key != "written"} == written


def test_fast_leaves_out_slices_where_they_lie_close_and_says_so(
    scan: Path, model: Path, tmp_path: Path
) -> None:
    phantom = chest_phantom((60, 72, 96), (4.0, 4.5, 4.0))
    stored, affine = reorient(phantom.hu, (1.0, 4.5, 4.0), "RAS")
    thin = write_nifti(tmp_path / "thin.nii.gz", stored, affine)
    done = run_here(thin, scan, "--fast", "--model", model, "-o", tmp_path / "fast")
    assert done.returncode == 0, done.stderr
    thin_fast, scan_fast = (
        json.loads((tmp_path / "fast" / f"{name}.infnet.json").read_text()) for name in ("thin", "scan")
    )
    provenance, q = thin_fast["provenance"], thin_fast["quantification"]
    assert provenance["fast"]
    assert provenance["slices_interpolated"] > provenance["slices_run"] > 10
    assert provenance["slices_run"] + provenance["slices_interpolated"] == q["slices_with_lung"]
    assert "slices_interpolated" in q["flags"]
    assert scan_fast["provenance"]["slices_interpolated"] == 0
    assert f"fast: {provenance['slices_interpolated']} of {q['slices_with_lung']} slices" in done.stdout
    assert "fast: no effect at 12 mm" in done.stdout
    assert run_here(thin, scan, "--model", model, "-o", tmp_path / "full", "-q").returncode == 0
    full = json.loads((tmp_path / "full" / "thin.infnet.json").read_text())
    assert not full["provenance"]["fast"]
    assert full["provenance"]["slices_run"] == q["slices_with_lung"]
    masks = {
        (folder, name): (tmp_path / folder / f"{name}.infection.nii.gz").read_bytes()
        for folder in ("fast", "full")
        for name in ("thin", "scan")
    }
    assert masks["fast", "thin"] != masks["full", "thin"]
    assert masks["fast", "scan"] == masks["full", "scan"]


def test_the_slice_gate_silences_where_it_is_asked_for_and_says_so(
    scan: Path, model: Path, tmp_path: Path
) -> None:
    gate = SliceGate(mm2=1500.0, sensitivity=0.9, specificity=0.9, slices=9)
    manifest = replace(MANIFEST, metrics=gate.metrics())
    gated = mid_grey_detector(tmp_path / "gated.onnx", manifest=manifest.to_json())
    runs = {"plain": (model,), "full": (gated,), "silenced": (gated, "--slice-gate")}
    done = {
        name: run_here(scan, "-o", tmp_path / name, "--model", *options) for name, options in runs.items()
    }
    assert {one.returncode for one in done.values()} == {0}
    masks, reports = (
        {name: (tmp_path / name / f"scan.{ending}").read_bytes() for name in runs}
        for ending in ("infection.nii.gz", "infnet.json")
    )
    assert masks["plain"] == masks["full"] != masks["silenced"]
    plain, full, silenced = (json.loads(reports[name]) for name in runs)
    assert {one["infected"] for one in plain["slices"]} == {None}
    assert {one["infected"] for one in full["slices"]} == {True, False}
    assert full["slices"] == silenced["slices"]
    assert len(full["slices"]) == full["quantification"]["slices_with_lung"]
    assert full["provenance"]["slice_gate_mm2"] is None
    assert silenced["provenance"]["slice_gate_mm2"] == 1500.0
    assert "slice gate: the marks of" in done["silenced"].stdout
    assert "slice gate" not in done["full"].stdout


def test_a_slice_gate_that_the_model_lacks_is_refused_once(scan: Path, model: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.nii.gz"
    second.write_bytes(scan.read_bytes())
    done = run_here(scan, second, "--slice-gate", "--model", model)
    assert done.returncode == 4
    assert done.stderr.count("[INF-4076] the model mid-grey 1 has no slice gate") == 1
    assert not list(scan.parent.glob("*.infection.nii.gz"))


ALL_OUTPUTS = ("--lungs-out", "--probability-out", "--montage", "--report", "--csv-regions")


def test_lungs_probability_and_picture_as_files(scan: Path, model: Path) -> None:
    done = run_here(scan, "--model", model, *ALL_OUTPUTS, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_report(report)
    assert report["quantification"]["uncertainty"]["infection_ml_band"]
    assert report["outputs"] == {
        "mask": "scan.infection.nii.gz",
        "lungs": "scan.lungs.nii.gz",
        "probability": "scan.probability.nii.gz",
        "montage": "scan.montage.png",
        "report": "scan.report.html",
        "regions": "scan.regions.csv",
    }
    assert len(report["written"]) == 7
    ct = nib.load(scan)
    files = {
        kind: nib.load(scan.parent / report["outputs"][kind]) for kind in ("mask", "lungs", "probability")
    }
    for file in files.values():
        assert np.array_equal(file.affine, ct.affine)
        assert file.shape == ct.shape
        assert [file.header[code] for code in ("qform_code", "sform_code")] == [1, 1]
    mask, lungs, probability = (np.asarray(file.dataobj) for file in files.values())
    assert files["probability"].get_data_dtype() == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1
    assert set(np.unique(lungs)) == {0, 1, 2}
    both = report["quantification"]["both"]
    assert np.count_nonzero(lungs) * abs(np.linalg.det(ct.affine)) / 1000 == pytest.approx(both["lung_ml"])
    # The probabilities are rounded to float16, the mask is made before that.
    near = np.abs(probability - report["provenance"]["threshold"]) < 1e-3
    assert np.array_equal((mask > 0)[~near], ((probability >= 0.5) & (lungs > 0))[~near])
    # The lungs that were written can be given: the same numbers come back.
    given = scan.parent / "scan.lungs.nii.gz"
    again = run_here(scan, "--model", model, "--lungs", given, "--json", "-o", scan.parent / "again")
    assert json.loads(again.stdout)["quantification"]["both"] == both


LABELS = {
    "1": {"name": "ground glass", "scheme": "DCM", "code": "112120", "meaning": "Ground glass opacity"},
    "2": {"name": "consolidation", "scheme": "SCT", "code": "9656002", "meaning": "Consolidation"},
}


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes_detector(tmp_path_factory.mktemp("models") / "classes.onnx")


@pytest.mark.parametrize("code", ["RAS", "LPI"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_classes_are_a_file_with_names_and_codes(
    code: str, ending: str, with_classes: Path, tmp_path: Path
) -> None:
    phantom = chest_phantom()
    stored, affine = reorient(phantom.hu, phantom.spacing_mm, code)
    scan = write_nifti(tmp_path / f"scan{ending}", stored, affine)
    plain = run_here(scan, "--model", with_classes, "-o", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    done = run_here(scan, "--model", with_classes, "--classes", "--montage", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    mask, classes = (nib.load(tmp_path / "out" / f"scan.{kind}.nii.gz") for kind in ("infection", "classes"))
    told = np.asarray(classes.dataobj)
    assert told.dtype == np.uint8
    assert set(np.unique(told)) == {0, 1, 2}
    assert np.array_equal(told > 0, np.asarray(mask.dataobj) > 0)
    assert np.array_equal(classes.affine, nib.load(scan).affine)
    assert len(mask.header.extensions) == 0
    (note,) = classes.header.extensions
    assert note.get_code() == 6
    assert json.loads(note.get_content().rstrip(b"\0")) == {"labels": LABELS}
    names = ["scan.infection.nii.gz", "scan.infnet.json"]
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == names, "nothing more unasked"
    before, report = (json.loads((tmp_path / f / "scan.infnet.json").read_text()) for f in ("plain", "out"))
    check_report(before)
    check_report(report)
    assert (tmp_path / "plain" / names[0]).read_bytes() == (tmp_path / "out" / names[0]).read_bytes()
    assert report["outputs"]["classes"] == "scan.classes.nii.gz"
    kinds = report["quantification"].pop("classes")
    assert report["quantification"] == before["quantification"]
    assert (kinds["source"], kinds["labels"]) == ("model", LABELS)
    for side in ("both", "right", "left"):
        whole = report["quantification"][side]["infection_ml"]
        assert kinds[side]["ggo_ml"] + kinds[side]["consolidation_ml"] == pytest.approx(whole, rel=1e-12)
    assert kinds["both"]["ggo_ml"] > 0
    assert kinds["left"]["ggo_percent_of_infection"] is None
    assert kinds["reasons"]["left.ggo_percent_of_infection"] == "no_infection"
    assert set(report["definitions"]) - set(before["definitions"]) == {
        "classes",
        "ggo_ml, consolidation_ml",
        "ggo_percent_of_infection",
    }
    told_text = f"classes    ground glass {kinds['both']['ggo_ml']:.1f} ml, "
    assert told_text in done.stdout
    assert "classes    consolidation " in done.stdout
    assert "\nclasses " not in plain.stdout
    shown = cv2.imread(str(tmp_path / "out" / "scan.montage.png"), cv2.IMREAD_COLOR)
    for colour in CLASS_COLOURS[1:]:
        assert (shown[..., ::-1] == colour).all(axis=-1).any()


def test_files_of_classes_have_equal_bytes_and_are_results(
    with_classes: Path, scan: Path, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        run_here(scan, "--model", with_classes, "--classes", "-o", tmp_path / folder, "-q")
    one, two = ((tmp_path / f / "scan.classes.nii.gz").read_bytes() for f in ("one", "two"))
    assert one == two
    again = run_here(tmp_path / "one", "--model", with_classes, "-q")
    assert again.returncode == 3
    assert "results of infnet, not scans" in again.stderr
    (tmp_path / "scan.classes.nii.gz").write_bytes(b"mine")
    refused = run_here(scan, "--model", with_classes, "--classes")
    assert refused.returncode == 8
    assert "INF-8015" in refused.stderr


def test_a_picture_has_classes_in_colour(with_classes: Path, tmp_path: Path) -> None:
    phantom = chest_phantom()
    plane = int(phantom.infection.sum(axis=(1, 2)).argmax())
    grey = np.clip((phantom.hu[plane].astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    done = run_here(tmp_path / "a.png", "--model", with_classes, "--classes")
    assert done.returncode == 0, done.stderr
    shown = cv2.imread(str(tmp_path / "a.classes.png"), cv2.IMREAD_COLOR)
    mask = cv2.imread(str(tmp_path / "a.infection.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(shown.any(axis=-1), mask > 0)
    kinds = json.loads((tmp_path / "a.infnet.json").read_text())["quantification"]["classes"]
    assert kinds["both"] is None or kinds["both"]["ggo_ml"] is None


def test_classes_of_a_model_without_them_are_refused_before_a_scan_is_read(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no scan")
    done = run_here(tmp_path / "scan.nii.gz", "--model", model, "--classes", "-o", tmp_path / "out")
    assert done.returncode == 4
    assert done.stderr.startswith(f"error[INF-4070] {model} does not tell ground glass from consolidation")
    assert "it gives infection_probability (infection)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_further_files_of_an_earlier_run_stay_known(scan: Path, model: Path) -> None:
    assert run_here(scan, "--model", model, *ALL_OUTPUTS, "-q").returncode == 0
    assert run_here(scan, "--model", model, "-q").returncode == 0
    report = json.loads((scan.parent / "scan.infnet.json").read_text())
    words = ("lungs.nii.gz", "montage.png", "probability.nii.gz", "regions.csv", "report.html")
    further = [f"scan.{word}" for word in words]
    assert report["outputs_of_earlier_runs"] == further
    done = run_here(scan.parent, "--model", model, *ALL_OUTPUTS, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs_of_earlier_runs"] == []


def test_a_picture_has_its_further_files_as_pictures(model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom((20, 240, 300), (12.0, 1.35, 1.28))
    middle = int(phantom.infection.sum((1, 2)).argmax())
    grey = np.clip((phantom.hu[middle].astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "slice.png"), grey)
    done = run_here(tmp_path / "slice.png", "--model", model, *ALL_OUTPUTS)
    assert done.returncode == 0, done.stderr
    read = {
        word: cv2.imread(str(tmp_path / f"slice.{word}.png"), cv2.IMREAD_UNCHANGED)
        for word in ("infection", "lungs", "probability", "montage")
    }
    assert read["lungs"].shape == read["probability"].shape == grey.shape
    assert set(np.unique(read["lungs"])) == {0, 255}
    assert ((read["infection"] > 0) <= (read["probability"] > 120)).all()
    assert read["montage"].ndim == 3


def test_the_demo_says_what_it_is_and_what_is_in_it(model: Path, tmp_path: Path) -> None:
    done = run_here("--demo", "-o", tmp_path, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    assert "phantom.nii.gz is a synthetic chest and no patient" in done.stderr
    assert "not how accurate the model is" in done.stderr
    assert "Its right lung holds 376 ml of ground glass" in done.stderr
    assert json.loads(done.stdout)["quantification"]["warnings"] == []


def test_the_demo_replaces_no_file_of_the_user(model: Path, tmp_path: Path) -> None:
    (tmp_path / "phantom.nii.gz").write_bytes(b"mine")
    done = run_here("--demo", "-o", tmp_path, "--model", model)
    assert done.returncode == 8
    assert "phantom.nii.gz is there already and no phantom of infnet; rename it" in done.stderr
    assert (tmp_path / "phantom.nii.gz").read_bytes() == b"mine"


def test_the_only_scan_that_fails_has_its_line_and_its_code(tmp_path: Path, model: Path) -> None:
    done = run_here(tmp_path / "gone.nii", "--model", model, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == 3001
    assert done.stderr.startswith("error[INF-3001]")


def test_the_report_says_which_file_it_was_and_how_long_it_took_to_read(scan: Path, model: Path) -> None:
    assert run_here(scan, "--model", model, "-q").returncode == 0
    report = json.loads((scan.parent / "scan.infnet.json").read_text())
    assert report["input"]["path"] == str(scan)
    assert report["input"]["sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert report["provenance"]["seconds"]["read"] > 0


def test_a_folder_is_done_twice_over(scan: Path, model: Path, tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        (tmp_path / "all" / patient).mkdir(parents=True)
        shutil.copy(scan, tmp_path / "all" / patient / "ct.nii.gz")
    for turn in range(2):
        done = run_here(tmp_path / "all", "--model", model, "-q", "-v")
        assert done.returncode == 0, done.stderr
        assert ("left out" in done.stderr) == bool(turn)
    assert len(list((tmp_path / "all").rglob("*.infnet.json"))) == 2
    out = tmp_path / "out"
    files = sorted((tmp_path / "all").glob("*/ct.nii.gz"))
    done = run_here(*files, "--model", model, "-o", out)
    assert done.returncode == 8
    assert "error[INF-8013]" in done.stderr
    assert not out.exists()
    assert run_here(tmp_path / "all", "--model", model, "-o", out, "-q").returncode == 0
    assert len(list(out.rglob("ct.infection.nii.gz"))) == 2


def test_the_next_patient_does_not_replace_the_result_of_the_last(
    scan: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_here(scan, "--model", model, "-o", out, "-q").returncode == 0
    before = (out / "scan.infnet.json").read_bytes()
    (tmp_path / "p2").mkdir()
    other = write_nifti(tmp_path / "p2/scan.nii.gz", *reversed_scan(scan))
    done = run_here(other, "--model", model, "-o", out)
    assert done.returncode == 8
    assert "error[INF-8016]" in done.stderr
    assert "is the result of another scan, scan.nii.gz with sha256" in done.stderr
    assert (out / "scan.infnet.json").read_bytes() == before
    # A report of before the sha256 tells as much as it can: the voxels.
    old = json.loads(before)
    del old["input"]["sha256"]
    for shape, code in (([1, 2, 3], 8), (list(nib.load(other).shape), 0)):
        old["input"]["shape"] = shape
        (out / "scan.infnet.json").write_text(json.dumps(old))
        assert run_here(other, "--model", model, "-o", out, "-q").returncode == code
    (out / "scan.infnet.json").write_bytes(before)
    # The same scan again is fine, and so is a scan that was converted again, beside itself.
    assert run_here(scan, "--model", model, "-o", out, "-q").returncode == 0
    assert run_here(other, "--model", model, "-q").returncode == 0
    write_nifti(other, *reversed_scan(other))
    assert run_here(other, "--model", model, "-q").returncode == 0
    report = json.loads((tmp_path / "p2/scan.infnet.json").read_text())
    assert report["input"]["sha256"] == hashlib.sha256(other.read_bytes()).hexdigest()


def reversed_scan(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same chest, from head to feet."""
    image = nib.load(path)
    affine = image.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    affine[:3, 3] += image.affine[:3, 2] * (image.shape[2] - 1)
    return np.asarray(image.dataobj)[..., ::-1], affine


def test_memory_that_runs_out_has_a_number(tmp_path: Path, model: Path) -> None:
    resource = pytest.importorskip("resource")
    big = chest_phantom((60, 400, 500), (5.0, 0.8, 0.8))
    write_nifti(tmp_path / "big.nii", big.hu, big.affine)
    small = chest_phantom((8, 60, 80), (25.0, 6.0, 5.0))
    write_nifti(tmp_path / "small.nii", small.hu, small.affine)
    code = (
        "import resource, sys\n"
        "import infnet_runtime.segment.path as path\n"
        "find = path.lungs_and_doubts\n"
        "def limited(scan, *given, **named):\n"
        "    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    old = resource.getrlimit(resource.RLIMIT_AS)\n"
        "    room = 8 << 20 if scan.source == 'big.nii' else 4 << 30\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + room, old[1]))\n"
        "    try: return find(scan, *given, **named)\n"
        "    finally: resource.setrlimit(resource.RLIMIT_AS, old)\n"
        "path.lungs_and_doubts = limited\n"
        "from infnet_runtime.cli.main import main\n"
        "main()\n"
    )
    del resource
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    command = [sys.executable, "-c", code, str(tmp_path), "--model", str(model), "--threads", "1"]
    command += ["--backend", "onnxruntime"]  # OpenVINO compiles in memory that is free again afterwards
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 6, done.stderr
    assert "big.nii: error[INF-8012] memory ran out" in done.stderr
    assert (tmp_path / "small.infnet.json").exists()
    alone = subprocess.run(
        [*command[:3], str(tmp_path / "big.nii"), *command[4:]], capture_output=True, text=True
    )
    assert alone.returncode == 8
    assert alone.stderr.startswith("error[INF-8012] memory ran out")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backend_asked_for_is_in_the_report(scan: Path, model: Path, backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = run_here(
        scan, "--model", model, "--backend", backend, "--device", "cpu", "--threads", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["backend"].startswith(f"{backend} ")


def test_lung_mask_of_the_user(scan: Path, model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom()
    stored, affine = reorient(
        phantom.lungs, phantom.spacing_mm, "LPS"
    )  # stored in another order than the scan
    lungs = write_nifti(tmp_path / "lungs.nii.gz", stored, affine)
    done = run_here(scan, "--model", model, "--lungs", lungs, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["provenance"]["lungs"] == "given"
    expected = phantom.volume_ml(phantom.lungs == 1)
    assert report["quantification"]["right"]["lung_ml"] == pytest.approx(expected, rel=1e-6)
    affine[0, 3] += 5
    shifted = write_nifti(tmp_path / "shifted.nii.gz", stored, affine)
    done = run_here(scan, "--model", model, "--lungs", shifted)
    assert done.returncode == 3
    assert "error[INF-3062] the lung mask shifted.nii.gz" in done.stderr
    assert "5.00 mm apart" in done.stderr


def test_lobes_give_numbers_and_scores_of_lobes(scan: Path, model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom()
    lobes = np.where(phantom.lungs == 1, 3, phantom.lungs // 2).astype(np.uint8)
    lobes[:10] += np.array([0, 1, 0, 1], np.uint8)[lobes[:10]]
    lobes[:6][lobes[:6] == 4] = 5
    mask = write_nifti(tmp_path / "lobes.nii.gz", *reorient(lobes, phantom.spacing_mm, "LPS"))
    done = run_here(scan, "--model", model, "--lobes", mask)
    assert done.returncode == 0, done.stderr
    report = json.loads((scan.parent / "scan.infnet.json").read_text())
    check_report(report)
    assert report["provenance"]["lobes"] == "given"
    q = report["quantification"]
    assert None not in q["scores"].values()
    assert q["lobes"]["right_lower"]["lung_ml"] == pytest.approx(phantom.volume_ml(lobes == 5))
    assert sum(lobe["infection_ml"] for lobe in q["lobes"].values()) == pytest.approx(
        q["both"]["infection_ml"]
    )
    assert f"scores     ctss_0_25 {q['scores']['ctss_0_25']}, lss_0_20 " in done.stdout
    missing = run_here(scan, "--model", "no.onnx", "--lobes", tmp_path / "none.nii.gz")
    assert "error[INF-3001] there is no lobe mask" in missing.stderr
    twice = run_here(scan, mask, "--model", model, "--lobes", mask, "-o", tmp_path / "out")
    assert twice.returncode == 2
    assert "one lobe mask belongs to one scan" in twice.stderr


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ("gone.nii.gz", 3, "error[INF-3001] there is no lung mask gone.nii.gz; check the spelling"),
        ("here", 3, "error[INF-3002] the lung mask here is a folder"),
        ("scan.png", 3, "error[INF-3003] the lung mask scan.png is no NIfTI file"),
    ],
)
def test_a_lung_mask_that_is_not_there_is_told_before_anything_is_done(
    given: str, code: int, text: str, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("scan.png").touch()
    done = run_here(scan, "--model", "no-model.onnx", "--lungs", given, "-o", "out")
    assert done.returncode == code
    assert text in done.stderr
    assert not Path("out").exists()


def test_an_orientation_that_is_none_is_refused_whatever_the_file_says(scan: Path, model: Path) -> None:
    done = run_here(scan, "--model", model, "--assume-orientation", "XYZ")
    assert done.returncode == 2
    assert "XYZ: expected three letters of L/R, A/P, S/I such as LAS" in " ".join(done.stderr.split())
    assert run_here(scan, "--model", model, "--assume-orientation", "LAS").returncode == 0


def test_labels_of_a_lung_mask_are_named(scan: Path, model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom()
    labels = np.array([0, 4, 3], np.uint8)[phantom.lungs]
    lungs = write_nifti(tmp_path / "lungs.nii.gz", *reorient(labels, phantom.spacing_mm, "RAS"))
    place = ("--model", model, "--lungs", lungs, "--json")
    done = run_here(scan, *place)
    assert done.returncode == 3
    assert "error[INF-3061] lungs.nii.gz has the labels 3 (" in done.stderr
    assert "--lung-labels right=4,left=3" in done.stderr
    done = run_here(scan, *place, "--lung-labels", "right=4,left=3")
    assert done.returncode == 0, done.stderr
    right = json.loads(done.stdout)["quantification"]["right"]
    assert right["lung_ml"] == pytest.approx(phantom.volume_ml(phantom.lungs == 1), rel=1e-6)
    assert right["infection_ml"] > 0


def test_picture(model: Path, tmp_path: Path) -> None:
    phantom = chest_phantom((20, 240, 300), (12.0, 1.35, 1.28))
    middle = int(phantom.infection.sum((1, 2)).argmax())
    grey = np.clip((phantom.hu[middle].astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "slice.png"), grey)
    done = run_here(tmp_path / "slice.png", "--model", model)
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(tmp_path / "slice.infection.png"), cv2.IMREAD_UNCHANGED)
    truth = phantom.infection[middle]
    assert mask.shape == truth.shape
    assert 2 * ((mask > 0) & truth).sum() / ((mask > 0).sum() + truth.sum()) > 0.85
    report = json.loads((tmp_path / "slice.infnet.json").read_text())
    check_report(report)
    assert report["input"]["spacing_mm"] is None
    both = report["quantification"]["both"]
    share = 100 * np.count_nonzero(truth) / np.count_nonzero(phantom.lungs[middle])
    assert both["infection_percent"] == pytest.approx(share, rel=0.15)
    assert both["infection_ml"] is None
    assert report["quantification"]["reasons"]["both.infection_ml"] == "no_voxel_size"
    assert "% of the lung" in done.stdout
    assert "no millilitres" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to do: give a CT volume"),
        (["none.nii.gz"], 3, "error[INF-3001] there is no file none.nii.gz"),
        (["{scan}", "--model", "none.onnx"], 4, "error[INF-4030] no model at none.onnx"),
        (["{scan}", "--device", "cuda:9"], 5, "error[INF-5011] device 'cuda' was asked for"),
        (["{scan}", "--device", "gpu"], 5, "error[INF-5001] device 'gpu' is not known"),
        (["{scan}", "--backend", "torch"], 5, "error[INF-5003] backend 'torch' is not known"),
        (["{scan}", "--precision", "f16"], 5, "error[INF-5043] precision 'f16' is not known"),
        (
            ["{scan}", "--precision", "bf16", "--backend", "onnxruntime"],
            5,
            "error[INF-5041] precision bf16 was asked for, and ONNX Runtime has no such setting",
        ),
        (["{scan}", "--backend", "tensorrt"], 5, "error[INF-5005] backend tensorrt runs engines"),
        (["{scan}", "--model", "none.plan"], 4, "error[INF-4040] no engine at none.plan"),
        (
            ["{scan}", "--model", "m.plan", "--device", "cpu"],
            5,
            "error[INF-5004] m.plan is a TensorRT engine",
        ),
        (["{scan}", "--intensity", "grey"], 2, "expected auto, hu or windowed"),
        (["{scan}", "--batch-size", "0"], 2, "should be greater than or equal to 1"),
        (["{scan}", "--no-such-option"], 2, "No such option"),
        (["{scan}", "-o", "{scan}/below"], 8, "error[INF-8001] cannot write"),
        (["{scan}", "--lungs", "none.nii"], 3, "error[INF-3001] there is no lung mask none.nii"),
        (
            ["{scan}", "--lungs", "none.nii", "--lung-labels", "1,2"],
            3,
            "error[INF-3065] cannot read the lung",
        ),
        (["{scan}", "--lung-labels", "right=1"], 2, "give --lungs"),
    ],
)
def test_errors(
    arguments: list[str], code: int, message: str, scan: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scan.parent)
    given = [a.format(scan=scan) for a in arguments]
    if "--model" not in given and given:
        given += ["--model", str(model)]
    done = run_here(*given)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not list(scan.parent.glob("*.infection.*"))


def test_missing_backend_names_the_extra(scan: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('onnxruntime', 'openvino') else real(name, *a)\n"
    )
    done = run(
        scan,
        "--model",
        model,
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 5
    assert "[INF-5031] nothing is installed that runs a model: pip install 'infnet[cpu]'" in done.stderr


def test_several_inputs_of_which_one_fails(scan: Path, model: Path) -> None:
    (scan.parent / "broken.nii").write_bytes(b"x" * 400)
    done = run_here(scan.parent / "broken.nii", scan, "--model", model)
    assert done.returncode == 6
    assert "broken.nii: error[INF-3010]" in done.stderr
    assert "1 of 2 inputs failed" in done.stderr
    assert (scan.parent / "scan.infection.nii.gz").exists()


def test_non_finite_output_writes_nothing(scan: Path, tmp_path: Path) -> None:
    broken = mid_grey_detector(tmp_path / "nan.onnx", scale=float("nan"))
    done = run_here(scan, "--model", broken)
    assert done.returncode == 7
    assert "error[INF-7020]" in done.stderr
    assert not list(scan.parent.glob("scan.inf*"))


def test_interrupts_leave_with_their_codes_and_without_files(scan: Path, model: Path) -> None:
    big = chest_phantom((60, 220, 220), (5.0, 1.5, 1.5))
    slow = write_nifti(scan.parent / "slow.nii", big.hu, big.affine)
    for number, code, word in ((signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")):
        command = [
            sys.executable,
            "-m",
            "infnet_runtime.cli",
            str(slow),
            "--model",
            str(model),
            "-v",
            "--device",
            "auto",
            "--precision",
            "f32",
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        assert "device auto" in process.stderr.readline()
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == code, rest
        assert word in rest
    assert not [p for p in scan.parent.iterdir() if "slow.inf" in p.name or p.suffix == ".part"]


def test_help_explains_itself() -> None:
    done = run("--help")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    for text in (
        "Find and measure COVID-19 lung infection",
        "--lungs",
        "--backend",
        "--device",
        "--demo",
        "infnet-infer doctor",
        "not a medical device",
    ):
        assert text in words
