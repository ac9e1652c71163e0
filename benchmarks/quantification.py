"""CPU time of measuring, as a share of the run that it belongs to, and the memory that it takes.

    python benchmarks/quantification.py SCAN.nii.gz [SCAN.nii.gz ...] [--repeats 3] [--json FILE]

The run is ``Segmenter.predict`` of a volume in memory with one thread; the step is all that follows the
network: slices, counts, numbers, scores. Both are CPU seconds of the process, the least of some repeats; the
volume is not read in the time. Memory is the most that the step holds at once beside its inputs, as
tracemalloc counts it.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infnet_runtime import Intensity, Segmentation, Segmenter, load
from infnet_runtime.io import open_scan
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.slices import findings


def measure(result: Segmentation) -> object:
    """All that is measured of a result, again."""
    scan, grid = result.volume, result.volume.grid
    mask, lungs = scan.to_lps(result.mask), scan.to_lps(result.lungs)
    return findings(mask, lungs, grid.pixel_mm2, z_mm=grid.slice_z_mm), quantify(
        mask,
        lungs,
        grid.voxel_ml,
        hu=scan.to_lps() if scan.intensity is Intensity.HU else None,
        slice_mm=grid.slice_mm,
    )


def least_cpu_s(work: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of some repeats."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def peak_mib(work: Callable[[], object]) -> float:
    """Most memory that is held at once."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def row(model: Segmenter, path: Path, repeats: int) -> dict[str, Any]:
    """Figures of one scan."""
    volume = open_scan(path).volume
    result = model.predict(volume)
    both = result.quantification.both
    run_s = least_cpu_s(lambda: model.predict(volume), repeats)
    step_s = least_cpu_s(lambda: measure(result), repeats)
    return {
        "scan": path.name,
        "shape": list(volume.voxels.shape),
        "slices_with_lung": result.quantification.slices_with_lung,
        "infection_percent": None if both is None else both.infection_percent,
        "run_cpu_s": run_s,
        "step_cpu_s": step_s,
        "step_percent_of_the_run": 100 * step_s / (run_s - step_s),
        "step_peak_mib": peak_mib(lambda: measure(result)),
        "volume_mib": volume.voxels.size * volume.voxels.dtype.itemsize / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with load(threads=1, device="cpu") as model:
        rows = [row(model, path, arguments.repeats) for path in arguments.scans]
    for one in rows:
        print(
            f"{one['scan']}: {one['slices_with_lung']} slices with lung, run {one['run_cpu_s']:.1f} CPU s, "
            f"measuring {one['step_cpu_s']:.2f} CPU s: {one['step_percent_of_the_run']:.1f} % of the rest, "
            f"{one['step_peak_mib']:.0f} MiB at most (the volume {one['volume_mib']:.0f} MiB)"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
