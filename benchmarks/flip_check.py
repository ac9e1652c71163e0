"""How well the disagreement with the mirror image ranks scans by how far their masks are off.

    python benchmarks/flip_check.py DATA [--json FILE]

The labelled volumes of ``benchmarks/validation.py``, each on the slices that both groups read, and scans
without infection, where all that is marked is wrong. The error is 1 - Dice, the mean of that with each of the
readers; beside it how far the millilitres are from the mean of the readers', as a share of it. Prints a table
and Spearman's correlation of the ranks, on which the flag ``check_this_scan`` rests.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from readers.agreement import dice
from readers.cases import VOLUMES, Case, healthy_examinations, labelled_case

from infnet_runtime import CtVolume, load
from infnet_runtime.io import open_scan
from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML
from infnet_runtime.measure.flip import MOST_DISAGREEMENT
from infnet_runtime.segment.result import Segmentation


def spearman(one: list[float], other: list[float]) -> float:
    """Correlation of ranks; ties share theirs.

    Examples
    --------
    >>> spearman([1, 2, 3], [10, 30, 20])
    0.5
    """
    ranks = [
        [np.mean(np.flatnonzero(np.sort(values) == value)) for value in values] for values in (one, other)
    ]
    return round(float(np.corrcoef(*ranks)[0, 1]), 6)


def labelled_row(case: Case, result: Segmentation) -> dict[str, Any]:
    """A labelled volume: how far the mask is off on the slices that were read."""
    mask = np.asarray(result.volume.to_lps(result.mask))[case.covered] > 0
    first, second = case.first[case.covered], case.second[case.covered]
    ml = [float(np.count_nonzero(one)) * case.voxel_ml for one in (mask, first, second)]
    mean = (ml[1] + ml[2]) / 2
    return {
        "name": case.known.name,
        **_told(result),
        "dice_error": 1 - (dice(mask, first) + dice(mask, second)) / 2,
        "ml_error": abs(ml[0] - mean) / mean,
    }


def healthy_row(name: str, result: Segmentation) -> dict[str, Any]:
    """A scan without infection: all that is marked is wrong."""
    return {"name": name, **_told(result), "dice_error": float(result.mask.any()), "ml_error": None}


def _told(result: Segmentation) -> dict[str, Any]:
    q = result.quantification
    return {
        "ml": q.both.infection_ml if q.both else None,
        "percent": q.both.infection_percent if q.both else None,
        "disagreement": q.uncertainty.flip_disagreement,
        "flagged": "check_this_scan" in q.flags,
    }


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The table, and the correlations."""
    lines = ["| scan | % of the lung | disagreement | 1 - Dice with the readers | ml off by |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for row in rows:
        off = "" if row["ml_error"] is None else f"{100 * row['ml_error']:.0f} %"
        differ = row["disagreement"]
        disagreement = "-" if differ is None else f"{differ:.2f}"  # nothing is marked either way
        lines.append(
            f"| {row['name']} | {row['percent']:.2f} | {disagreement} | {row['dice_error']:.2f} | {off} |"
        )
    marked = [row for row in rows if row["ml"] >= COMPONENT_FLOOR_ML]  # in others single voxels decide
    for which, chosen in (
        ("all with marks", marked),
        ("labelled", [r for r in marked if r["ml_error"] is not None]),
    ):
        found = spearman([row["disagreement"] for row in chosen], [row["dice_error"] for row in chosen])
        lines.append(f"\nSpearman, {which} ({len(chosen)}): {found:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with load(threads=1) as model:

        def run(scan: CtVolume) -> Segmentation:
            return model.predict(scan, flip_check=True)

        for known in VOLUMES:
            scan = open_scan(options.data / known.folder / f"{known.name}_ct.nii.gz").volume
            rows.append(labelled_row(labelled_case(options.data, known), run(scan)))
            print(rows[-1], flush=True)
        for healthy in filter(lambda one: one.has_size, healthy_examinations(options.data)):
            for number, piece in enumerate(healthy.pieces, start=1):
                rows.append(healthy_row(f"{healthy.name}, piece {number}", run(piece)))
                print(rows[-1], flush=True)
        by = f"{model.manifest.name} {model.manifest.version}"
    print(to_markdown(rows))
    if options.json:
        found = {"by": by, "limit": MOST_DISAGREEMENT, "rows": rows}
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
