"""What ``--fast`` saves on thin slices, and what it costs: full and fast runs of the same scans, by turns.

    python benchmarks/fast.py DATA [--scan FILE ...] [--backend openvino] [--turns 2] [--json FILE]

DATA is the folder of the data sets (their names are below). Scans are:

- one of 1 mm as it was reconstructed, with labels: the one that counts;
- labelled ones of 6 mm, and those of ``--scan``, whose planes are interpolated to 1 mm, or to half their
  distance where they are nearer. Sharp planes then alternate with blurred ones, in which the network marks
  other things, as it would not in a scan.

CPU time is that of the process with one thread, from the file to mask and JSON, the model loaded and warm.
Lesions are pieces of the full run's mask of more than 0.1 ml; one is found where the fast mask touches it.
Other distances are worked out from the probabilities of a full run, with the planes that would run at each.
How much two full runs differ where the scan differs by what nobody sees, one grey level up or down at random,
is measured on the first scan.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cc3d
import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, FloatArray
from infnet_runtime.cpu import limit_process
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import read_stored, write_nifti
from infnet_runtime.model.shipped import default_model
from infnet_runtime.report.text_and_json import to_json
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.segment.segmenter import Segmenter, load
from infnet_runtime.segment.thinned import interpolated, planes_to_run

THIN = "radiopaedia-covid-volumes-2/radiopaedia_10_85902_3_thin"
THICK = (
    "radiopaedia-covid-volumes/radiopaedia_4_85506_1",
    "radiopaedia-covid-volumes/radiopaedia_7_85703_0",
    "radiopaedia-covid-volumes/radiopaedia_29_86491_1",
    "radiopaedia-covid-volumes-2/radiopaedia_10_85902_1",
)
REAL = "as reconstructed"
LESION_ML = 0.1
GOALS = {"times less CPU time": 2.2, "mean Dice": 0.97}
DISTANCES_MM = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0)


@dataclass(frozen=True, eq=False)
class Thin:
    """A scan of thin slices on the disk, and what is known of it.

    Parameters
    ----------
    truth : (slice, row, column)
        Infection of the labels.
    """

    name: str
    path: Path
    how: str
    truth: BoolArray | None


def scans(data: Path, further: list[Path], folder: Path, most_planes: int) -> Iterator[Thin]:
    """Thin scans, written one by one."""
    real = data / f"{THIN}_ct.nii.gz"
    yield Thin(real.name, real, REAL, labels(data / f"{THIN}_infection.nii.gz", real))
    for name in THICK:
        path = data / f"{name}_ct.nii.gz"
        yield thinned_out(path, labels(data / f"{name}_infection.nii.gz", path), folder, most_planes)
    for path in further:
        yield thinned_out(path, None, folder, most_planes)


def labels(path: Path, scan: Path) -> BoolArray:
    """Infection of a label file in LPS."""
    marked: BoolArray = open_scan(scan).volume.to_lps(np.asarray(read_stored(path)[2]) != 0)
    return marked


def thinned_out(path: Path, truth: BoolArray | None, folder: Path, most_planes: int) -> Thin:
    """A scan with interpolated planes between its own, cut to some of them around the infection's middle."""
    volume = open_scan(path).volume
    voxels, spacing_mm = volume.to_lps(), volume.lps_spacing_mm[0]
    parts = max(2, round(spacing_mm)) if spacing_mm >= 3 else 2
    middle = len(voxels) // 2
    if truth is not None:
        middle = round(float(np.average(np.arange(len(truth)), weights=truth.sum(axis=(1, 2)))))
    planes = min(len(voxels), most_planes // parts + 1)
    first = min(max(0, middle - planes // 2), len(voxels) - planes)
    part = slice(first, first + planes)
    thin = np.rint(between_planes(voxels[part].astype(np.float32), parts)).astype(voxels.dtype)
    affine = np.zeros((4, 4))
    affine[0, 0], affine[1, 1], affine[2, 2] = np.multiply(
        (-1, -1, 1), (*volume.lps_spacing_mm[2:0:-1], spacing_mm / parts)
    )
    affine[3, 3] = 1
    out = folder / path.name
    write_nifti(out, thin.transpose(2, 1, 0), affine)  # (slice, row, column) -> L P S
    marked = None if truth is None else between_planes(truth[part].astype(np.float32), parts) >= 0.5
    how = f"interpolated from {spacing_mm:g} mm, {len(thin)} planes"
    return Thin(path.name, out, how, marked)


def between_planes(planes: FloatArray, parts: int) -> FloatArray:
    """Linear interpolation along the first axis, ``parts`` steps from each plane to the next."""
    steps = [
        interpolated(planes[k], planes[k + 1], part / parts)
        for k in range(len(planes) - 1)
        for part in range(parts)
    ]
    return np.stack([*steps, planes[-1]])


def clocked(segmenter: Segmenter, path: Path, folder: Path, *, fast: bool) -> tuple[float, Segmentation]:
    """CPU seconds from the file to mask and JSON, and the result."""
    start = time.process_time()
    scan = open_scan(path)
    result = segmenter.predict(scan.volume, fast=fast)
    scan.write_mask(folder / f"mask{scan.mask_suffix}", result.mask)
    (folder / "report.json").write_text(to_json(result, outputs={}), "utf-8")
    return time.process_time() - start, result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All scans, one after the other."""
    rows = []
    with (
        tempfile.TemporaryDirectory() as name,
        load(options.model, device="cpu", threads=1, backend=options.backend) as segmenter,
    ):
        folder = Path(name)
        for scan in scans(options.data, options.scan, folder, options.most_planes):
            print(scan.name, file=sys.stderr)
            rows.append(measured(segmenter, scan, folder, options.turns))
            if scan.how == REAL:
                rows[-1]["dice_of_unseen_change"] = unseen(segmenter, scan.path)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "model": options.model.name,
        "backend": options.backend,
        "goals": GOALS,
        "scans": rows,
        **summary(rows),
    }


def measured(segmenter: Segmenter, scan: Thin, folder: Path, turns: int) -> dict[str, Any]:
    """A scan in full and fast, by turns, and its mask at other distances."""
    kept = segmenter.predict(scan.path, keep_probability=True)  # and warm
    cpu_s: dict[bool, list[float]] = {False: [], True: []}
    results: dict[bool, Segmentation] = {}
    for _ in range(turns):
        for fast in (False, True):
            seconds, results[fast] = clocked(segmenter, scan.path, folder, fast=fast)
            cpu_s[fast].append(seconds)
    volume = kept.volume
    full, fast_mask = (volume.to_lps(results[fast].mask) > 0 for fast in (False, True))
    assert np.array_equal(full, volume.to_lps(kept.mask) > 0), "two full runs differ"
    return {
        "scan": scan.name,
        "how": scan.how,
        "spacing_mm": round(volume.lps_spacing_mm[0], 3),
        "planes": len(full),
        "full": numbers(results[False], cpu_s[False]),
        "fast": numbers(results[True], cpu_s[True]),
        "times_less_cpu": statistics.median(
            one / other for one, other in zip(cpu_s[False], cpu_s[True], strict=True)
        ),
        "dice": dice(full, fast_mask),
        "lesions": lesions(full, fast_mask, volume),
        "dice_to_labels": None
        if scan.truth is None
        else [dice(scan.truth, mask) for mask in (full, fast_mask)],
        "dice_by_distance": at_distances(kept),
    }


def numbers(result: Segmentation, cpu_s: list[float]) -> dict[str, Any]:
    """What is told of a run."""
    both = result.quantification.both
    return {
        "cpu_s": [round(seconds, 3) for seconds in cpu_s],
        "slices_run": result.provenance.slices_run,
        "slices_interpolated": result.provenance.slices_interpolated,
        "infection_ml": None if both is None else both.infection_ml,
    }


def dice(one: BoolArray, other: BoolArray) -> float:
    """Of two masks; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def lesions(full: BoolArray, fast: BoolArray, volume: CtVolume) -> dict[str, int]:
    """Pieces of the full run's mask, how many of them the fast mask touches, and its pieces beside them."""
    return {
        "full": len(pieces(full, volume)),
        "found": touched(pieces(full, volume), fast),
        "only_fast": sum(not full[piece].any() for piece in pieces(fast, volume)),
    }


def touched(found: list[tuple[AnyArray, ...]], mask: BoolArray) -> int:
    """How many pieces a mask touches."""
    return sum(bool(mask[piece].any()) for piece in found)


def pieces(mask: BoolArray, volume: CtVolume) -> list[tuple[AnyArray, ...]]:
    """Voxels of each piece of more than LESION_ML."""
    assert volume.grid.voxel_ml is not None
    labelled = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(labelled.ravel())[1:]
    return [np.nonzero(labelled == k + 1) for k in np.flatnonzero(sizes * volume.grid.voxel_ml > LESION_ML)]


def unseen(segmenter: Segmenter, path: Path) -> float:
    """Dice of two full runs, of a scan in 8-bit grey and of the same up to one grey level off."""
    volume = open_scan(path).volume
    off = np.random.default_rng(0).integers(-1, 2, volume.voxels.shape, np.int8)
    changed = np.clip(volume.voxels.astype(np.int16) + off, 0, 255).astype(np.uint8)
    other = CtVolume(changed, volume.affine, volume.intensity, volume.source)
    masks = [segmenter.predict(scan, lungs=None).mask > 0 for scan in (volume, other)]
    return dice(*masks)


def at_distances(kept: Segmentation) -> dict[str, float]:
    """Dice of the full mask with those of planes that run farther and nearer, by their distance in mm."""
    assert kept.probability is not None
    volume, spacing_mm = kept.volume, kept.volume.lps_spacing_mm[0]
    probability, lungs = volume.to_lps(kept.probability), volume.to_lps(kept.lungs) > 0
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2))).tolist()
    full = (probability >= kept.provenance.threshold) & lungs
    found = {}
    for step in sorted({int(mm / spacing_mm + 1e-6) for mm in DISTANCES_MM} - {0, 1}):
        mask = full.copy()
        run = planes_to_run(with_lung, step)
        for below, above in pairwise(run):
            if not lungs[below + 1 : above].any():
                continue
            ends = probability[below].astype(np.float32), probability[above].astype(np.float32)
            for k in range(below + 1, above):
                own = interpolated(*ends, (k - below) / (above - below))
                mask[k] = (own >= kept.provenance.threshold) & lungs[k]
        found[f"{step * spacing_mm:.3g}"] = dice(full, mask)
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over scans in which planes were left out; at other distances over those spaced as the first."""
    thinned = [row for row in rows if row["fast"]["slices_interpolated"]]
    alike = [row["dice_by_distance"] for row in thinned if row["spacing_mm"] == thinned[0]["spacing_mm"]]
    return {
        "mean_dice": statistics.mean(row["dice"] for row in thinned),
        "times_less_cpu": statistics.median(row["times_less_cpu"] for row in thinned),
        "mean_dice_by_distance": {mm: statistics.mean(row[mm] for row in alike) for mm in alike[0]},
    }


def to_markdown(report: dict[str, Any]) -> str:
    """A row for each scan."""
    lines = [
        f"{report['system']}; model {report['model']} on {report['backend']}, one thread; full / fast",
        "",
        "| scan | mm | slices run | CPU s | times less | Dice | ml | lesions of full found | more | "
        "Dice to labels | Dice at other distances (mm) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(_cells(row))} |" for row in report["scans"]),
    ]
    least_dice, least_times = report["goals"]["mean Dice"], report["goals"]["times less CPU time"]
    means = ", ".join(f"{mm} mm: {value:.3f}" for mm, value in report["mean_dice_by_distance"].items())
    unchanged = [f"{row['dice_of_unseen_change']:.3f}" for row in report["scans"] if row["how"] == REAL]
    lines += [
        "",
        f"- Mean Dice {report['mean_dice']:.3f} (goal {least_dice:g}); by distance {means}.",
        f"- {report['times_less_cpu']:.2f} times less CPU time (median; goal {least_times:g}).",
        f"- Dice {', '.join(unchanged)} of two full runs of the scan {REAL}, one of them with values "
        "changed by up to one grey level.",
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    full, fast, found, labelled = row["full"], row["fast"], row["lesions"], row["dice_to_labels"]
    cpu = [f"{statistics.median(run['cpu_s']):.1f}" for run in (full, fast)]
    return [
        f"{row['scan']}, {row['how']}",
        f"{row['spacing_mm']:g}",
        f"{full['slices_run']} / {fast['slices_run']}",
        " / ".join(cpu),
        f"{row['times_less_cpu']:.2f}",
        f"{row['dice']:.3f}",
        f"{full['infection_ml']:.1f} / {fast['infection_ml']:.1f}",
        f"{found['found']} of {found['full']}",
        str(found["only_fast"]),
        " / ".join(f"{value:.3f}" for value in labelled) if labelled else "-",
        ", ".join(f"{mm}: {value:.3f}" for mm, value in row["dice_by_distance"].items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--scan", type=Path, action="append", default=[], help="a further scan")
    parser.add_argument("--model", type=Path, help="ONNX model; the shipped 8-bit one if absent")
    parser.add_argument("--backend", default="openvino", help="onnxruntime or openvino")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--most-planes", type=int, default=80, help="of a scan that is thinned out")
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    options.model = options.model or default_model(int8=True)
    limit_process(1)
    report = measure(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
