"""What leaving flat marks out gives, with several limits, and how flat the lesions of both readers are.

    python benchmarks/flat_marks.py DATA --masks KEEP [--model MODEL] [--json FILE]

The labelled volumes of ``benchmarks/validation.py`` and its scans without infection that are in HU. Masks are
made with flat marks in them, in the lungs that infnet finds; the folder KEEP keeps them for the next time.
Flatness is width over height as ``measure/flat_marks`` has it, of pieces that reach no end of what was looked
at. Dice is that of the slices that both groups read; the rest is of whole scans, by the first group.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from readers.agreement import dice, lesions_found
from readers.cases import VOLUMES, Case, Masks, healthy_examinations, labelled_case, options_of_masks, scan_of

from infnet_runtime.arrays import BoolArray
from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML, FLATTEST
from infnet_runtime.measure.flat_marks import flat_marks
from infnet_runtime.scan.grid import Grid

LIMITS = (None, 3.0, 3.5, 4.0, 5.0)
"""None leaves flat marks in."""
_SHOWN = 3  # of the flattest pieces of each mask


@dataclass(frozen=True)
class Shape:
    """A connected piece of a mask.

    Parameters
    ----------
    true
        Share of it that a reader marked; None of a reader's own.
    """

    flatness: float
    ml: float
    height_mm: float
    true: float | None = None


@dataclass(frozen=True)
class Voxels:
    """Sizes of a grid."""

    ml: float
    pixel_mm2: float
    plane_mm: float


def voxels_of(grid: Grid) -> Voxels:
    """Sizes of the grid of a scan in HU or of a labelled volume, which all have some."""
    assert grid.voxel_ml is not None
    assert grid.pixel_mm2 is not None
    assert grid.plane_mm is not None
    return Voxels(grid.voxel_ml, grid.pixel_mm2, grid.plane_mm)


def shapes(
    mask: BoolArray, looked_at: BoolArray, size: Voxels, truth: BoolArray | None = None
) -> list[Shape]:
    """Pieces of ``COMPONENT_FLOOR_ML`` and more that are whole, the flattest first.

    Parameters
    ----------
    mask, truth : (slices, rows, columns)
    looked_at : (slices,)
        A piece beside a slice that was not may go on there, and is left out.

    Examples
    --------
    >>> mask = np.zeros((4, 20, 20), bool)
    >>> mask[1, 5:15, 5:15] = True
    >>> [round(one.flatness, 2) for one in shapes(mask, np.ones(4, bool), Voxels(0.001, 1.0, 2.0))]
    [5.64]
    """
    labels = cc3d.connected_components(mask.view(np.uint8), connectivity=26)
    found = cc3d.statistics(labels)
    beyond = np.pad(~looked_at, 1, constant_values=True)
    told = []
    for label in range(1, len(found["voxel_counts"])):
        box = found["bounding_boxes"][label]
        piece = labels[box] == label
        ml = int(piece.sum()) * size.ml
        ends = beyond[box[0].start] or beyond[box[0].stop + 1]
        if ml < COMPONENT_FLOOR_ML * (1 - 1e-9) or ends:
            continue
        height_mm = len(piece) * size.plane_mm
        width_mm = 2 * np.sqrt(piece.sum(axis=(1, 2)).max() * size.pixel_mm2 / np.pi)
        true = None if truth is None else float(truth[box][piece].mean())
        told.append(Shape(float(width_mm / height_mm), ml, height_mm, true))
    return sorted(told, key=lambda one: -one.flatness)


def without_flat(mask: BoolArray, slices: list[int], size: Voxels, limit: float | None) -> BoolArray:
    """A mask without its flat marks, by the runtime's own rule."""
    left = mask.astype(np.uint8)
    if limit is not None:
        for part in flat_marks(left, slices, pixel_mm2=size.pixel_mm2, plane_mm=size.plane_mm, limit=limit):
            left[part.box][part.where] = 0
    return left > 0


def labelled_rows(case: Case, mask: BoolArray, lungs: BoolArray, size: Voxels) -> dict[str, Any]:
    """All of one labelled volume."""
    looked_at: BoolArray = np.asarray(lungs.any(axis=(1, 2)))
    every = np.ones(len(mask), np.bool_)
    slices, covered = np.flatnonzero(looked_at).tolist(), case.covered
    healthy = looked_at & ~(case.first | case.second).any(axis=(1, 2))
    rows = []
    for limit in LIMITS:
        left = without_flat(mask, slices, size, limit)
        lesions = lesions_found(case.first, left, size.ml)
        rows.append(
            {
                "limit": limit,
                "dice": [dice(left[covered], reader[covered]) for reader in (case.first, case.second)],
                "ml": int(left.sum()) * size.ml,
                "ml_in_healthy_slices": int(left[healthy].sum()) * size.ml,
                "lesions": lesions.number,
                "lesions_found": lesions.touched,
            }
        )
    return {
        "name": case.known.name,
        "first_ml": int(case.first.sum()) * size.ml,
        "plane_mm": size.plane_mm,
        "shapes": {
            "first": _told(shapes(case.first, every, size)),
            "second": _told(shapes(case.second, covered, size)),
            "infnet": _told(shapes(mask, looked_at, size, case.first | case.second)),
        },
        "limits": rows,
    }


def healthy_rows(name: str, pieces: list[tuple[BoolArray, BoolArray, Voxels]]) -> dict[str, Any]:
    """A scan without infection in one or several pieces: mask, lungs and sizes of each."""
    rows = []
    for limit in LIMITS:
        ml = 0.0
        for mask, lungs, size in pieces:
            slices = np.flatnonzero(lungs.any(axis=(1, 2))).tolist()
            ml += int(without_flat(mask, slices, size, limit).sum()) * size.ml
        rows.append({"limit": limit, "ml": ml})
    return {"name": name, "plane_mm": pieces[0][2].plane_mm, "limits": rows}


def _told(found: list[Shape]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def to_markdown(report: dict[str, Any]) -> str:
    """Flatness, and what each limit gives."""
    by = report["by"]
    lines = [f"{by['model']} {by['model_version']}, {by['backend']} in {by['precision']}", ""]
    lines += [f"| volume | marks of | pieces of {COMPONENT_FLOOR_ML:g} ml and more | flattest |"]
    lines += ["| --- | --- | --- | --- |"]
    for case in report["cases"]:
        for who, found in case["shapes"].items():
            shown = ", ".join(_shape_in_words(one) for one in found[:_SHOWN])
            lines.append(f"| {case['name']} | {who} | {len(found)} | {shown} |")
    lines += ["", "| scan | measure | kept | " + " | ".join(f"{k:g}" for k in LIMITS if k) + " |"]
    lines += ["| --- | --- | " + " | ".join("---" for _ in LIMITS) + " |"]
    for case in report["cases"]:
        rows = case["limits"]
        for measure, told in (
            ("Dice with first / second", [f"{r['dice'][0]:.3f} / {r['dice'][1]:.3f}" for r in rows]),
            (f"ml (first: {case['first_ml']:.1f})", [f"{r['ml']:.1f}" for r in rows]),
            ("ml in healthy slices", [f"{r['ml_in_healthy_slices']:.1f}" for r in rows]),
            (f"lesions found of {rows[0]['lesions']}", [str(r["lesions_found"]) for r in rows]),
        ):
            lines.append(f"| {case['name']} | {measure} | {' | '.join(told)} |")
    for scan in report["healthy"]:
        ml = " | ".join(f"{row['ml']:.1f}" for row in scan["limits"])
        lines.append(f"| {scan['name']} | ml, all false | {ml} |")
    return "\n".join(lines)


def _shape_in_words(one: dict[str, Any]) -> str:
    true = "" if one["true"] is None else f", {100 * one['true']:.0f} % true"
    return f"{one['flatness']:.1f} ({one['ml']:.1f} ml, {one['height_mm']:.0f} mm high{true})"


def measure(data: Path, masks: Masks) -> dict[str, Any]:
    """Every number."""
    cases, healthy = [], []
    for known in VOLUMES:
        scan = scan_of(data, known)
        marked = masks.of(known.name, scan)
        case = labelled_case(data, known)
        cases.append(labelled_rows(case, marked.infection, marked.lungs, voxels_of(scan.grid)))
    for examination in healthy_examinations(data):
        if not examination.has_size:
            continue  # pictures lose nothing
        pieces = []
        for number, scan in enumerate(examination.pieces):
            marked = masks.of(f"{examination.name}-{number}", scan)
            pieces.append((marked.infection, marked.lungs, voxels_of(scan.grid)))
        healthy.append(healthy_rows(examination.name, pieces))
    return {"by": masks.by, "limit": FLATTEST, "cases": cases, "healthy": healthy}


def main() -> None:
    """Measure, print and write."""
    options = options_of_masks(__doc__).parse_args()
    masks = Masks.of_options(options, keep_flat_marks=True)
    try:
        report = measure(options.data, masks)
    finally:
        masks.close()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
