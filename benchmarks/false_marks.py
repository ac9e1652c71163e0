"""What a model marks in scans without infection: the level below which its results may be nothing.

    python benchmarks/false_marks.py --data ../shared/data --json false_marks.json
    infnet-export weights.safetensors --metrics false_marks.json -o out

The first command prints a row for each examination, and writes the largest of them as ``infnet-export
--metrics`` takes it. Scans are segmented as by ``infnet-infer``, lungs found. Several pieces of one
examination count as one: their millilitres and their lungs are added.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from datasets import healthy_series

from infnet_runtime import CtVolume, load
from infnet_runtime.io import open_scan
from infnet_runtime.model.false_marks import FalseMarks

_NEARLY_HEALTHY = Path("radiopaedia-covid-volumes-2/radiopaedia_29_86490_1")


def examinations(data: Path) -> Iterator[tuple[str, list[CtVolume]]]:
    """Name and pieces of every examination without infection that has a voxel size and was in no training."""
    yield "LIDC-IDRI-0001", [healthy_series(data)]
    yield "radiopaedia_29_86490_1", [open_scan(data / f"{_NEARLY_HEALTHY}_ct.nii.gz").volume]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path, help="the shipped model where absent")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    marked: list[tuple[float, float]] = []  # ml, ml of lung
    print("| examination | slices | lungs | marked | share of the lungs |\n| --- | --- | --- | --- | --- |")
    with load(options.model, backend=options.backend, threads=1, precision="f32") as model:
        for name, pieces in examinations(options.data):
            burdens = [model.predict(piece).quantification for piece in pieces]
            infected = sum(q.both.infection_ml for q in burdens if q.both)
            lung = sum(q.both.lung_ml for q in burdens if q.both)
            slices = sum(q.slices_with_lung for q in burdens)
            marked.append((infected, lung))
            print(
                f"| {name} | {slices} | {lung:.0f} ml | {infected:.1f} ml | {100 * infected / lung:.2f} % |",
                flush=True,
            )
    level = FalseMarks(
        ml=round(max(ml for ml, _ in marked), 1),
        percent=round(max(100 * ml / lung for ml, lung in marked), 2),
        scans=len(marked),
    )
    print(f"\n{level}")
    if options.json:
        options.json.write_text(json.dumps(level.metrics(), indent=1) + "\n")


if __name__ == "__main__":
    main()
