"""Tables for spreadsheets: the numbers of the JSON, a row for what failed, and nothing that runs."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.tally import LOBES
from infnet_runtime.report.tables import (
    DONE,
    FAILED,
    SCAN_COLUMNS,
    as_cell,
    region_table,
    scan_row,
    scan_table,
    scans_in,
)
from infnet_runtime.report.text_and_json import failure_document, to_document

PHANTOM = chest_phantom((14, 60, 80), (16.0, 5.0, 4.5))
PROVENANCE = Provenance(
    "0", "m", "1", "ab", "b", "int8 + bf16", "cpu", 0.5, 1.0, "given", 4, False, 2, 0, 0, {}
)


def result(*, with_lobes: bool = False) -> Segmentation:
    volume = CtVolume(PHANTOM.hu, PHANTOM.affine, Intensity.HU, "scan.nii")
    mask, lobes = PHANTOM.infection.astype(np.uint8), None
    if with_lobes:
        lobes = np.zeros_like(PHANTOM.lungs)
        right, left, low = PHANTOM.lungs == 1, PHANTOM.lungs == 2, np.arange(14)[:, None, None] < 7
        lobes[right] = LOBES["right_upper"]
        lobes[right & low] = LOBES["right_lower"]
        lobes[right & (np.arange(14)[:, None, None] == 7)] = LOBES["right_middle"]
        lobes[left] = LOBES["left_upper"]
        lobes[left & low] = LOBES["left_lower"]
    q = quantify(
        mask, PHANTOM.lungs, volume.grid.voxel_ml, hu=PHANTOM.hu, lobes=lobes, slice_mm=volume.grid.slice_mm
    )
    return Segmentation(volume, mask, PHANTOM.lungs, q, PROVENANCE, None)


def read(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table, newline="")))


def test_a_row_has_the_numbers_of_the_document() -> None:
    document = to_document(result(), outputs={}, path=Path("in/scan.nii"))
    (row,) = read(scan_table([scan_row(document)]))
    q = document["quantification"]
    assert tuple(row) == SCAN_COLUMNS
    assert row["status"] == DONE
    assert row["path"] == "in/scan.nii"
    for prefix, side in (("", "both"), ("right_", "right"), ("left_", "left")):
        for name, value in q[side].items():
            assert row[f"{prefix}{name}"] == ("" if value is None else str(value))
        assert float(row[f"{prefix}ggo_ml_by_hu"]) == q["hu_classes"][side]["ggo_ml"]
        assert row[f"{prefix}ggo_ml_by_model"] == ""
    assert float(row["infection_ml"]) == pytest.approx(PHANTOM.infection_ml, rel=1e-12)
    assert row["left_infection_mean_hu"] == ""
    assert "left.infection_mean_hu: no_infection" in row["missing"]
    assert row["ctss_0_25"] == ""
    assert row["model_sha256"] == "ab"


def test_a_scan_that_failed_has_its_error() -> None:
    document = failure_document(Path("in/b.nii"), code=3032, message="not finite, 3 of 5")
    (row,) = read(scan_table([scan_row(document)]))
    assert (row["status"], row["error_code"], row["error_message"]) == (
        FAILED,
        "INF-3032",
        "not finite, 3 of 5",
    )
    assert row["infection_ml"] == ""
    bug = scan_row(failure_document(Path("b.nii"), code=None, message="x"))
    assert (bug["status"], bug["error_code"]) == (FAILED, "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
def test_a_name_is_no_formula(start: str) -> None:
    name = f"{start}cmd|' C calc'!A0.nii"
    document = failure_document(Path(name), code=3001, message=f"{start}1+1")
    (row,) = read(scan_table([scan_row(document)]))
    for column in ("file", "path", "error_message"):
        assert row[column].startswith(f"'{start}")
    assert as_cell(-460.5) == -460.5, "numbers stay numbers"


def test_names_with_commas_quotes_and_ends_of_lines_stay_one_cell() -> None:
    name = 'a,"b"\nc;d.nii'
    table = scan_table([scan_row(failure_document(Path(name), code=3001, message="x"))])
    (row,) = read(table)
    assert row["file"] == name
    assert scans_in(table) == {(name, "")}


@pytest.mark.parametrize("other", ["", "a,b\r\n1,2\r\n", 'x"y\0'])
def test_another_file_is_no_table_of_scans(other: str) -> None:
    assert scans_in(other) is None


def test_regions_without_lobes_have_empty_cells() -> None:
    found = result()
    rows = {row[""]: row for row in read(region_table(found.quantification))}
    assert list(rows["Affected"])[1:] == [
        "Both lungs", "Left lung", "Right lung", "LUL", "LLL", "RUL", "RML", "RLL",
    ]  # fmt: skip
    assert list(rows) == [
        "Affected", "Opacity Score", "Lung volume (ml)", "Volume of opacity (ml)", "Percentage of opacity",
        "Volume of high opacity (ml)", "Percentage of high opacity", "Mean HU total", "Mean HU of opacity",
        "SD total", "SD of opacity",
    ]  # fmt: skip
    assert [rows["Affected"][c] for c in ("Both lungs", "Left lung", "Right lung", "LUL")] == [
        "Yes",
        "No",
        "Yes",
        "",
    ]
    both, right = found.quantification.both, found.quantification.right
    assert both is not None
    assert right is not None
    assert float(rows["Volume of opacity (ml)"]["Right lung"]) == right.infection_ml
    assert float(rows["Mean HU total"]["Both lungs"]) == both.lung_mean_hu
    assert rows["Mean HU of opacity"]["Left lung"] == ""
    assert set(rows["Opacity Score"].values()) == {"Opacity Score", ""}


def test_regions_with_lobes_have_scores_that_add_up() -> None:
    q = result(with_lobes=True).quantification
    rows = {row[""]: row for row in read(region_table(q))}
    scores = rows["Opacity Score"]
    lobes = [int(scores[lobe]) for lobe in ("LUL", "LLL", "RUL", "RML", "RLL")]
    assert int(scores["Both lungs"]) == sum(lobes) == q.scores.lss_0_20
    assert (int(scores["Left lung"]), int(scores["Right lung"])) == (sum(lobes[:2]), sum(lobes[2:]))
    volumes = rows["Volume of opacity (ml)"]
    assert sum(float(volumes[lobe]) for lobe in ("RUL", "RML", "RLL")) == pytest.approx(
        float(volumes["Right lung"])
    )
