"""``infnet-infer quantify``: a mask at hand is measured, without a model and without its libraries."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dicom_world
from builders import LEFT, RIGHT, chest_phantom, reorient, write_nifti
from quantified import check_report

PHANTOM = chest_phantom((16, 36, 48), (15.0, 9.0, 8.0))
LOBES = np.where(PHANTOM.lungs == LEFT, 1, np.where(PHANTOM.lungs == RIGHT, 3, 0)).astype(np.uint8)
LOBES[:9][LOBES[:9] == 3] = 4
LOBES[:7][LOBES[:7] == 1] = 2
LOBES[:6][LOBES[:6] == 4] = 5
_WITHOUT_A_MODEL = """
import sys
from infnet_runtime.cli.main import main
try:
    main()
finally:
    loaded = {"onnxruntime", "openvino", "tensorrt", "torch", "onnx"} & set(sys.modules)
    assert not loaded, loaded
"""


def write(path: Path, array: np.ndarray, code: str) -> Path:
    return write_nifti(path, *reorient(array, PHANTOM.spacing_mm, code))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    arrays = {
        "ct": (PHANTOM.hu, "RAS"),
        "mask": (PHANTOM.infection.astype(np.uint8), "LPS"),
        "classes": (PHANTOM.infection * (1 + (PHANTOM.hu > -450)).astype(np.uint8), "SAR"),
        "lungs": (PHANTOM.lungs, "PIR"),
        "one": ((PHANTOM.lungs > 0).astype(np.uint8), "RAS"),
        "lobes": (LOBES, "ILA"),
    }
    return {name: write(tmp_path / f"{name}.nii.gz", *given) for name, given in arrays.items()}


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _WITHOUT_A_MODEL, "quantify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_mask_is_measured_without_a_model(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.json"
    given = ("--ct", files["ct"], "--mask", files["classes"], "--lungs", files["one"])
    done = run(*given, "--lobes", files["lobes"], "--json", "-o", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report == json.loads(out.read_text())
    check_report(report)
    q = report["quantification"]
    assert q["both"]["infection_ml"] == pytest.approx(PHANTOM.infection_ml, rel=1e-9)
    assert q["right"]["infection_ml"] == q["both"]["infection_ml"]
    assert q["left"]["infection_ml"] == 0
    assert q["both"]["lung_ml"] == pytest.approx(PHANTOM.volume_ml(PHANTOM.lungs > 0), rel=1e-9)
    assert q["classes"]["source"] == "given_mask"
    dense = PHANTOM.infection & (PHANTOM.hu > -450)
    assert q["classes"]["both"]["consolidation_ml"] == pytest.approx(PHANTOM.volume_ml(dense), rel=1e-9)
    assert None not in q["scores"].values()
    for number, name in enumerate(
        ("left_upper", "left_lower", "right_upper", "right_middle", "right_lower"), 1
    ):
        assert q["lobes"][name]["lung_ml"] == pytest.approx(PHANTOM.volume_ml(number == LOBES), rel=1e-9)
    how = report["provenance"]
    assert (how["mask"], how["lungs"], how["lobes"]) == ("classes.nii.gz", "given", "given")
    assert len(how["mask_sha256"]) == 64


@pytest.mark.parametrize(("with_lobes", "lungs"), [(False, "threshold"), (True, "lobes")])
def test_lungs_are_those_of_the_lobes_or_found(files: dict[str, Path], with_lobes: bool, lungs: str) -> None:
    lobes = ("--lobes", files["lobes"]) if with_lobes else ()
    ways = "--lungs-by", "threshold", "--json"
    done = run("--ct", files["ct"], "--mask", files["mask"], *lobes, *ways)
    report = json.loads(done.stdout)
    check_report(report)
    assert report["provenance"]["lungs"] == lungs
    assert ("lung_mask_heuristic" in report["quantification"]["flags"]) != with_lobes
    assert "classes" not in report["quantification"]
    assert (report["quantification"]["scores"]["ctss_0_25"] is None) != with_lobes


def test_people_get_the_numbers_in_lines(files: dict[str, Path]) -> None:
    done = run("--ct", files["ct"], "--mask", files["mask"], "--lungs", files["lungs"])
    assert f"infection  {PHANTOM.infection_ml:.1f} ml" in done.stdout
    assert "mask       mask.nii.gz" in done.stdout
    assert "density    above -200 HU 0.0 % of the lung" in done.stdout
    assert "scores     zone_score_0_24_geometric " in done.stdout
    assert "network" not in done.stdout


def test_a_dicom_series_is_measured_as_its_nifti(tmp_path: Path) -> None:
    """The mask, stored as NIfTI in another orientation, lies on the grid of the series."""
    dicom_world.write(tmp_path / "ct", dicom_world.slices(PHANTOM))
    origin_mm = tuple(float(v) for v in np.multiply(dicom_world.ORIGIN_MM, (-1, -1, 1)))
    arrays = {"ct": PHANTOM.hu, "mask": PHANTOM.infection.astype(np.uint8), "lungs": PHANTOM.lungs}
    paths = {
        name: write_nifti(tmp_path / f"{name}.nii.gz", *reorient(array, PHANTOM.spacing_mm, code, origin_mm))
        for (name, array), code in zip(arrays.items(), ("LPS", "RIA", "SAR"), strict=True)
    }
    given = ("--mask", paths["mask"], "--lungs", paths["lungs"], "--json")
    found = [json.loads(run("--ct", ct, *given).stdout) for ct in (paths["ct"], tmp_path / "ct")]
    from_nifti, from_dicom = (report["quantification"] for report in found)
    assert from_dicom["both"] == pytest.approx(from_nifti["both"], rel=1e-6)
    assert from_dicom["both"]["infection_ml"] == pytest.approx(PHANTOM.infection_ml, rel=1e-6)
    assert [s["z_mm"] for s in found[1]["slices"]] == pytest.approx([s["z_mm"] for s in found[0]["slices"]])
    assert dicom_world.PLANTED not in json.dumps(found)


def test_what_is_refused_has_its_code_and_replaces_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    moved = write_nifti(tmp_path / "moved.nii.gz", PHANTOM.infection[1:].astype(np.uint8), PHANTOM.affine)
    done = run("--ct", files["ct"], "--mask", moved)
    assert done.returncode == 3
    assert done.stderr.startswith("error[INF-3330] the infection mask moved.nii.gz is (15, 36, 48)")
    before = files["ct"].read_bytes()
    done = run("--ct", files["ct"], "--mask", files["mask"], "-o", files["ct"])
    assert done.stderr.startswith("error[INF-8015]")
    assert files["ct"].read_bytes() == before
    done = run("--ct", files["ct"], "--mask", files["mask"], "--lung-labels", "right=1")
    assert done.returncode == 2


def test_pages_pictures_and_tables_of_a_mask(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new"
    given = ("--ct", files["ct"], "--mask", files["mask"], "--lobes", files["lobes"], "--json")
    asked = ("--report", out / "a.html", "--montage", out / "a.png", "--csv-regions", out / "a.csv")
    done = run(*given, *asked)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    page = (out / "a.html").read_text("utf-8")
    assert f"{report['quantification']['both']['infection_ml']:.1f} ml" in page
    assert report["provenance"]["mask_sha256"] in page
    assert "those of the lobes that were given" in page
    assert "right middle lobe" in page
    assert (out / "a.png").read_bytes().startswith(b"\x89PNG")
    with (out / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    lobe = report["quantification"]["lobes"]["right_middle"]
    assert float(rows["Lung volume (ml)"]["RML"]) == lobe["lung_ml"]
    again = run(*given, *asked)
    assert again.returncode == 8
    assert "INF-8023" in again.stderr
