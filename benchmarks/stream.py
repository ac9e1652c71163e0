"""What streaming leaves to do after the last plane, and how early the network could have begun.

    python benchmarks/stream.py [SCAN.nii.gz ...] [--slices 200] [--turns 5] [--network] [--model MODEL.onnx]
        [--backend NAME] [--json FILE]

Without a scan, the phantom of 512 x 512. ``predict_buffer`` on the whole volume and a stream that reads the
same memory take turns in one process after a run of each that does not count. ``after`` is the CPU time from
the last push to the result over that of ``predict_buffer``, one thread, the fastest turn of each, and the
ratios of the turns; ``pushes`` is that of all pushes. The network takes no time and marks nothing; with
``--network`` it is the real one, which then is nearly all of it. The peak of memory is that of a new process
over one run, above what it was with a small scan done, over the bytes of the volume, which is one of them.

``box``: the share of the planes, in tenths, from which on the lungs found in what is there give the box of
the whole scan, planes coming from the foot and from the head. Before that no slice can go through the network
as it will in the end.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stages import NoNetwork

from infnet_runtime.arrays import AnyArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.lungs import find_lungs, lung_box
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.segment.segmenter import Segmenter, load

WHOLE, STREAM, TIMES = "predict", "stream", "times"
TENTHS = [share / 10 for share in range(1, 11)]


def peak_bytes() -> int:
    """Peak of this process."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Let the peak begin at what is held now."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def measured(path: Path, what: str, options: argparse.Namespace) -> dict[str, Any]:
    """In this process: the peak of one way, or times of both."""
    with (
        load(options.model, device="cpu", backend=options.backend, threads=1)
        if options.network
        else Segmenter(NoNetwork(), threads=1)
    ) as segmenter:
        small = chest_phantom()
        segmenter.predict_buffer(small.hu, Grid(small.hu.shape, small.affine))
        volume = open_scan(path).volume
        given = segmenter, np.asarray(volume.voxels), volume.grid, volume.intensity
        if what != TIMES:
            forget_peak()
            base = peak_bytes() - given[1].nbytes
            WAYS[what](*given)
            return {"peak": (peak_bytes() - base) / given[1].nbytes}
        turns = [{way: run(*given) for way, run in WAYS.items()} for _ in range(options.turns + 1)][1:]
    found: dict[str, Any] = {"turns": [turn[STREAM].after_s / turn[WHOLE].after_s for turn in turns]}
    for way in WAYS:
        best = min((turn[way] for turn in turns), key=lambda one: one.after_s)
        found[way] = {"after_s": best.after_s, "pushes_s": best.pushes_s, "marked": best.marked}
    assert found[WHOLE]["marked"] == found[STREAM]["marked"]
    return found


@dataclass(frozen=True)
class Run:
    """CPU time of the pushes and of what comes after them."""

    pushes_s: float
    after_s: float
    marked: int


def whole(segmenter: Segmenter, voxels: AnyArray, grid: Grid, intensity: Intensity) -> Run:
    """No pushes, and all of it after them."""
    start = time.process_time()
    result = segmenter.predict_buffer(voxels, grid, intensity=intensity)
    return Run(0.0, time.process_time() - start, int(np.count_nonzero(result.mask)))


def streamed(segmenter: Segmenter, voxels: AnyArray, grid: Grid, intensity: Intensity) -> Run:
    """From foot to head as it is stored."""
    start = time.process_time()
    with segmenter.stream(grid, voxels=voxels, intensity=intensity) as stream:
        for k in range(stream.planes):
            stream.push(k)
        last = time.process_time()
        result = stream.finish()
    return Run(last - start, time.process_time() - last, int(np.count_nonzero(result.mask)))


WAYS = {WHOLE: whole, STREAM: streamed}


def fresh(path: Path, what: str, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own."""
    given = [str(path), "--what", what, "--backend", options.backend, "--turns", str(options.turns)]
    given += ["--model", str(options.model)] if options.model else []
    given += ["--network"] if options.network else []
    done = subprocess.run([sys.executable, __file__, *given], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def earliest_box(path: Path) -> dict[str, float]:
    """The share of the planes from which on the box is that of the whole scan, by where they come from."""
    volume = open_scan(path).volume
    voxels, spacing_mm = volume.to_lps(), volume.lps_spacing_mm

    def box(part: AnyArray) -> tuple[slice, slice]:
        lungs = find_lungs(part, spacing_mm, volume.intensity)
        return lung_box(lungs, spacing_mm, PreprocessSpec().crop_margin_mm)

    whole = box(voxels)
    found = {}
    for order in ("foot to head", "head to foot"):
        known = 1.0
        for share in reversed(TENTHS[:-1]):
            number = max(1, round(share * len(voxels)))
            if box(voxels[:number] if order == "foot to head" else voxels[-number:]) != whole:
                break
            known = share
        found[order] = known
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, nargs="*", help="CT volumes, .nii.gz")
    parser.add_argument("--slices", type=int, default=200, help="of the phantom")
    parser.add_argument("--network", action="store_true", help="the real one")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--what", choices=[WHOLE, STREAM, TIMES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what:
        print(json.dumps(measured(options.scans[0], options.what, options)))
        return
    report: dict[str, Any] = {}
    print("| scan | after (turns) | pushes | peak, whole | peak, stream | box, up | box, down |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for path in options.scans or [phantom(Path(folder), options.slices)]:
            found, early = fresh(path, TIMES, options), earliest_box(path)
            peaks = [fresh(path, way, options)["peak"] for way in WAYS]
            report[path.name] = {**found, "peaks": peaks, "early": early}
            after, pushes = (
                found[STREAM][part] / found[WHOLE]["after_s"] for part in ("after_s", "pushes_s")
            )
            turns = f"{min(found['turns']):.2f} to {max(found['turns']):.2f}"
            print(
                f"| {path.name} | {after:.2f} ({turns}) | {pushes:.2f} | "
                f"{peaks[0]:.2f} | {peaks[1]:.2f} | "
                f"{early['foot to head']:.0%} | {early['head to foot']:.0%} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def phantom(folder: Path, slices: int) -> Path:
    """A chest of 350 mm in slices of 512 x 512."""
    chest = chest_phantom((slices, 512, 512), (350 / slices, 0.7, 0.7))
    path = folder / "phantom.nii.gz"
    write_nifti(path, chest.hu.transpose(2, 1, 0), np.diag([-0.7, -0.7, 350 / slices, 1.0]))
    return path


if __name__ == "__main__":
    main()
