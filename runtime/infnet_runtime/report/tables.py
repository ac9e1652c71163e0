"""Tables for spreadsheets: one row for each scan of a call, and one scan by its regions.

CSV as in RFC 4180: commas, points in numbers, UTF-8. Numbers are those of the JSON, not rounded. A cell is
empty where there is no number. Text that a spreadsheet would take for a formula gets an apostrophe before it.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from infnet_runtime.measure.result import Burden, ClassBurden, Quantification, Scores
from infnet_runtime.measure.scores import lobe_scores
from infnet_runtime.measure.tally import LOBES, SIDES

DONE, FAILED, NOT_DONE = "done", "failed", "not done"
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # the last are wide forms

_LOBE_NUMBERS = ("lung_ml", "infection_ml", "infection_percent", "pho_percent")
_NUMBERS = tuple(one.name for one in fields(Burden))
_KINDS = tuple(one.name for one in fields(ClassBurden))
_SCORES = tuple(one.name for one in fields(Scores))
_PROVENANCE = (
    "infnet",
    "model",
    "model_version",
    "model_sha256",
    "backend",
    "device",
    "precision",
    "threshold",
    "lungs",
    "fast",
    "slice_gate_mm2",
)
_COUNTS = (
    "slices",
    "slices_with_lung",
    "slices_with_infection",
    "infection_outside_lungs_ml",
    "flat_marks_ml",
)
SCAN_COLUMNS = (
    "status",
    "file",
    "path",
    "series",
    "sha256",
    "error_code",
    "error_message",
    "warnings",
    "remarks",
    *(f"{_prefix}{name}" for _prefix in ("", "right_", "left_") for name in _NUMBERS),
    *(
        f"{_prefix}{name}_by_{source}"
        for source in ("hu", "model")
        for _prefix in ("", "right_", "left_")
        for name in _KINDS
    ),
    *_SCORES,
    *(f"{lobe}_{name}" for lobe in LOBES for name in _LOBE_NUMBERS),
    *_COUNTS,
    *_PROVENANCE,
    "missing",
)
"""Of the table of scans; numbers of both lungs have no word before them."""


def scan_row(document: Mapping[str, Any]) -> dict[str, object]:
    """Row of a scan from its report, or from what stands for one that failed."""
    scan = document["input"]
    row: dict[str, object] = {"file": scan["file"], "path": scan["path"]}
    if "error" in document:
        error = document["error"]
        code = "" if error["code"] is None else f"INF-{error['code']}"
        return row | {"status": FAILED, "error_code": code, "error_message": error["message"]}
    q, provenance = document["quantification"], document["provenance"]
    row |= {
        "status": DONE,
        "series": (scan["dicom"] or {}).get("series_uid"),
        "sha256": scan["sha256"],
        "warnings": "; ".join(q["warnings"]),
        "remarks": "; ".join(name for name in q["flags"] if name not in q["warnings"]),
        "missing": "; ".join(f"{name}: {why}" for name, why in q["reasons"].items()),
    }
    for side in SIDES:
        prefix = "" if side == "both" else f"{side}_"
        row |= {f"{prefix}{name}": (q[side] or {}).get(name) for name in _NUMBERS}
        for source, kinds in (("hu", q["hu_classes"]), ("model", q.get("classes"))):
            of_side = (kinds or {}).get(side) or {}
            row |= {f"{prefix}{name}_by_{source}": of_side.get(name) for name in _KINDS}
    row |= {name: q["scores"][name] for name in _SCORES}
    for lobe in LOBES:
        burden = (q["lobes"] or {}).get(lobe) or {}
        row |= {f"{lobe}_{name}": burden.get(name) for name in _LOBE_NUMBERS}
    row |= {name: q[name] for name in _COUNTS}
    return row | {name: provenance[name] for name in _PROVENANCE}


def scan_table(rows: Iterable[Mapping[str, object]]) -> str:
    """The table of scans."""
    return _csv(SCAN_COLUMNS, ([row.get(column) for column in SCAN_COLUMNS] for row in rows))


def scans_in(table: str) -> set[tuple[str, str]] | None:
    """Path and DICOM series of the scans in a table of scans; None if it is something else."""
    try:
        lines = list(csv.reader(io.StringIO(table, newline=""), strict=True))
    except csv.Error:
        return None
    if not lines or lines[0] != list(SCAN_COLUMNS):
        return None
    path, series = (SCAN_COLUMNS.index(column) for column in ("path", "series"))
    return {(line[path], line[series]) for line in lines[1:] if len(line) == len(SCAN_COLUMNS)}


_REGION_COLUMNS = {
    "Both lungs": "both",
    "Left lung": "left",
    "Right lung": "right",
    "LUL": "left_upper",
    "LLL": "left_lower",
    "RUL": "right_upper",
    "RML": "right_middle",
    "RLL": "right_lower",
}
_REGION_ROWS = {
    "Lung volume (ml)": "lung_ml",
    "Volume of opacity (ml)": "infection_ml",
    "Percentage of opacity": "infection_percent",
    "Volume of high opacity (ml)": "high_opacity_ml",
    "Percentage of high opacity": "pho_percent",
    "Mean HU total": "lung_mean_hu",
    "Mean HU of opacity": "infection_mean_hu",
    "SD total": "lung_sd_hu",
    "SD of opacity": "infection_sd_hu",
}


def region_table(q: Quantification) -> str:
    """One scan: measures in rows, both lungs, sides and lobes in columns."""
    regions = {"both": q.both, "right": q.right, "left": q.left} | dict(q.lobes or {})
    found = [regions.get(name) for name in _REGION_COLUMNS.values()]
    rows: list[list[object]] = [
        ["Affected", *(_affected(burden) for burden in found)],
        ["Opacity Score", *(_opacity_score(q, name) for name in _REGION_COLUMNS.values())],
    ]
    for name, key in _REGION_ROWS.items():
        rows.append([name, *(None if burden is None else getattr(burden, key) for burden in found)])
    return _csv(("", *_REGION_COLUMNS), rows)


def _affected(burden: Burden | None) -> str | None:
    if burden is None or burden.infection_percent is None:
        return None
    return "Yes" if burden.infection_percent > 0 else "No"


def _opacity_score(q: Quantification, region: str) -> int | None:
    """Lung severity score of the lobes of a region."""
    if q.lobes is None:
        return None
    of_region = {name: one for name, one in q.lobes.items() if region == "both" or name.startswith(region)}
    return lobe_scores(of_region)[0]["lss_0_20"] if of_region else None


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([as_cell(value) for value in row] for row in rows)
    return text.getvalue()


def as_cell(value: object) -> object:
    """What is written for a value.

    Examples
    --------
    >>> as_cell("=1+1"), as_cell(-461.5), as_cell(None)
    ("'=1+1", -461.5, '')
    """
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
