"""Accuracy against the size of pixels and the thickness of slices.

    python benchmarks/resolution.py DATA [--json FILE] [--figure FILE.svg] [--draw-only]

Labelled volumes and a chest without COVID-19 are made coarser, by averaging and by leaving pixels out, and
go through the shipped model as any scan does, lungs found anew. Dice is taken on the grid of the labels, the
mask enlarged to it; millilitres are compared with the labelled ones. The chest without COVID-19 has no
labels: all that is marked there is false.

The pixel of the labelled volumes is nominal (0.68 mm): their sizes are as uncertain as that. To keep the time
low, every second slice of the labelled volumes and every tenth of the other is used where pixels change.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from datasets import HEALTHY, healthy_series, labelled_volume, volume_names

from infnet_runtime import CtVolume, Segmenter, load
from infnet_runtime.arrays import AnyArray, BoolArray, FloatArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import read_stored
from infnet_runtime.scan.ct import Intensity

PIXELS_MM = (0.35, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
SAMPLED_MM = (2.0, 3.0, 4.0, 6.0)
SLICES_MM = (2.0, 5.0, 10.0, 20.0)
THIN = "radiopaedia-covid-volumes-2/radiopaedia_10_85902_3_thin"
_EVERY_LABELLED, _EVERY_HEALTHY = 2, 10

Row = dict[str, Any]
# (slice, row, column): values, truth or none, spacing in mm, meaning of the values
Scan = tuple[str, AnyArray, BoolArray | None, tuple[float, float, float], Intensity]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, default=Path("resolution.json"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--draw-only", action="store_true", help="draw what --json holds")
    options = parser.parse_args()
    if options.draw_only:
        rows = json.loads(options.json.read_text())
    else:
        rows = []
        with load(threads=1, backend="onnxruntime") as model:
            for row in measure(model, options.data):
                rows.append(row)
                print(row, flush=True)
                options.json.write_text(json.dumps(rows, indent=1))
    if options.figure:
        from resolution_figure import draw

        options.figure.parent.mkdir(parents=True, exist_ok=True)
        options.figure.write_text(draw(rows))


def measure(model: Segmenter, data: Path) -> Iterator[Row]:
    """All rows: pixels first, then slices."""
    scans = [*labelled(data), healthy(data)]
    for how in ("averaged", "sampled"):
        for scan in scans:
            name, values, truth, spacing_mm, meaning = scan
            step = _EVERY_HEALTHY if truth is None else _EVERY_LABELLED
            thinned = (
                name,
                values[::step],
                None if truth is None else truth[::step],
                (spacing_mm[0] * step, *spacing_mm[1:]),
                meaning,
            )
            sizes = (spacing_mm[1], *PIXELS_MM) if how == "averaged" else SAMPLED_MM
            for mm in sizes:
                yield {"what": "pixel", "how": how} | coarser_pixels(model, thinned, mm, how)
    for scan in (thin(data), *scans):
        for mm in SLICES_MM:
            planes = round(mm / scan[3][0])
            if planes > 1 or mm == SLICES_MM[0]:
                yield {"what": "slice", "how": "averaged"} | thicker_slices(model, scan, max(planes, 1))


def coarser_pixels(model: Segmenter, scan: Scan, mm: float, how: str) -> Row:
    """One scan with pixels of another size."""
    name, values, truth, spacing_mm, meaning = scan
    rows, columns = (
        max(1, round(n * own / mm)) for n, own in zip(values.shape[1:], spacing_mm[1:], strict=True)
    )
    method = cv2.INTER_NEAREST if how == "sampled" else cv2.INTER_AREA
    if mm < spacing_mm[1]:
        method = cv2.INTER_LINEAR
    changed = np.stack(
        [cv2.resize(p.astype(np.float32), (columns, rows), interpolation=method) for p in values]
    )
    size_mm = (
        spacing_mm[0],
        values.shape[1] * spacing_mm[1] / rows,
        values.shape[2] * spacing_mm[2] / columns,
    )
    return scored(model, name, like(changed, values), truth, size_mm, meaning) | {"mm": size_mm[1]}


def thicker_slices(model: Segmenter, scan: Scan, planes: int) -> Row:
    """One scan with neighbouring planes averaged."""
    name, values, truth, spacing_mm, meaning = scan
    n = len(values) // planes * planes
    changed = values[:n].reshape(-1, planes, *values.shape[1:]).mean(axis=1, dtype=np.float32)
    size_mm = (spacing_mm[0] * planes, *spacing_mm[1:])
    kept = None if truth is None else truth[:n]
    return scored(model, name, like(changed, values), kept, size_mm, meaning) | {"mm": size_mm[0]}


def scored(
    model: Segmenter,
    name: str,
    values: AnyArray,
    truth: BoolArray | None,
    spacing_mm: tuple[float, float, float],
    meaning: Intensity,
) -> Row:
    """Millilitres, and Dice where there are labels."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = np.multiply(spacing_mm, (1, -1, -1))
    affine[:3, 3], affine[3, 3] = (-200.0, -200.0, -300.0), 1
    result = model.predict(CtVolume(values, affine, meaning, name))
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    row: Row = {
        "scan": name,
        "infection_ml": int(np.count_nonzero(result.mask)) * voxel_ml,
        "lung_ml": int(np.count_nonzero(result.lungs)) * voxel_ml,
        "flags": list(result.quantification.flags),
    }
    if truth is None:
        return row
    fine = enlarged(result.mask, truth.shape)
    share = fine.size / (values.size or 1)
    both = int(np.count_nonzero(fine & truth))
    total = int(np.count_nonzero(fine)) + int(np.count_nonzero(truth))
    return row | {"dice": 2 * both / max(1, total), "truth_ml": int(truth.sum()) * voxel_ml / share}


def enlarged(mask: AnyArray, shape: tuple[int, ...]) -> BoolArray:
    """A mask on the grid of the labels, by nearest neighbour."""
    planes = np.repeat(mask, shape[0] // len(mask), axis=0)
    size = shape[:0:-1]
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_NEAREST) > 0 for p in planes])


def like(changed: FloatArray, values: AnyArray) -> AnyArray:
    """Whole numbers of the type the scan had."""
    return np.rint(changed).astype(values.dtype)


def labelled(data: Path) -> Iterable[Scan]:
    for name in volume_names(data):
        volume, truth = labelled_volume(data, name)
        yield name, volume.to_lps(), volume.to_lps(truth), volume.lps_spacing_mm, volume.intensity


def thin(data: Path) -> Scan:
    volume = open_scan(data / f"{THIN}_ct.nii.gz").volume
    truth = np.asarray(read_stored(data / f"{THIN}_infection.nii.gz")[2]) != 0
    return Path(THIN).name, volume.to_lps(), volume.to_lps(truth), volume.lps_spacing_mm, volume.intensity


def healthy(data: Path) -> Scan:
    volume = healthy_series(data)
    hu = np.clip(
        np.asarray(volume.to_lps()), -1024, 3071
    )  # the ground outside the field is no number of HU to average
    return HEALTHY.name, hu, None, volume.lps_spacing_mm, volume.intensity


if __name__ == "__main__":
    main()
