"""What a model marks in scans without infection: the level below which its results may be nothing.

    python benchmarks/false_marks.py --data ../shared/data --json false_marks.json
    infnet-export weights.safetensors --metrics false_marks.json -o out

The first command prints a row for each examination, and writes the largest of them as ``infnet-export
--metrics`` takes it. Scans are segmented as by ``infnet-infer``, lungs found. Several pieces of one
examination count as one: their millilitres and their lungs are added. Pictures have no millilitres.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import healthy_series

from infnet_runtime import CtVolume, load
from infnet_runtime.io import open_scan
from infnet_runtime.model.false_marks import FalseMarks
from infnet_train.data.negatives import normal_files

_NORMAL = "iq-othnccd-normal"
_NEARLY_HEALTHY = Path("radiopaedia-covid-volumes-2/radiopaedia_29_86490_1")


def examinations(data: Path) -> Iterator[tuple[str, list[CtVolume]]]:
    """Name and pieces of what has no infection and was in no training; normal pictures are one of them."""
    yield "LIDC-IDRI-0001", [healthy_series(data)]
    yield "radiopaedia_29_86490_1", [open_scan(data / f"{_NEARLY_HEALTHY}_ct.nii.gz").volume]
    normal = normal_files(data / _NORMAL, held_back=True)
    yield "IQ-OTH-NCCD, normal, held back", [open_scan(path).volume for path in normal]


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
    ml, percent = [], []
    print("| examination | slices | lungs | marked | share of the lungs |\n| --- | --- | --- | --- | --- |")
    with load(options.model, backend=options.backend, threads=1, precision="f32") as model:
        for name, pieces in examinations(options.data):
            results = [model.predict(piece) for piece in pieces]
            sizes = [piece.grid.voxel_ml for piece in pieces]  # None in pictures: then voxels are counted
            infected, lung = (
                sum(
                    int(np.count_nonzero(mask)) * (size or 1.0)
                    for mask, size in zip(masks, sizes, strict=True)
                )
                for masks in ([one.mask for one in results], [one.lungs for one in results])
            )
            slices = sum(one.quantification.slices_with_lung for one in results)
            percent.append(100 * infected / lung)
            told = ["-", "-"]
            if None not in sizes:
                ml.append(infected)
                told = [f"{lung:.0f} ml", f"{infected:.1f} ml"]
            print(f"| {name} | {slices} | {told[0]} | {told[1]} | {percent[-1]:.2f} % |", flush=True)
    level = FalseMarks(ml=round(max(ml), 1), percent=round(max(percent), 2), scans=len(percent))
    print(f"\n{level}")
    if options.json:
        options.json.write_text(json.dumps(level.metrics(), indent=1) + "\n")


if __name__ == "__main__":
    main()
