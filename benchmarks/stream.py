"""What streaming leaves to do after the last plane, and how early the network could have begun.

    python benchmarks/stream.py [SCAN.nii.gz ...] [--slices 200] [--model MODEL.onnx] [--backend NAME]
        [--turns 3] [--json FILE]

Without a scan, the phantom of 512 x 512. Each turn takes a fresh process for ``predict_buffer`` on the whole
volume and one for the stream that reads the same memory, with one thread. ``after`` is the time from the last
push to the result over that of ``predict_buffer``; then the same without the network, which takes as long in
both. ``push`` is the time of one push, mean and longest. The peak of memory is that of the process above what
it was with the model warm, over the bytes of the volume, which is one of them.

``box``: the share of the planes, in tenths, from which on the lungs found in what is there give the box of
the whole scan, planes coming from the foot and from the head. Before that no slice can go through the network
as it will in the end.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.lungs import find_lungs, lung_box
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.segment.segmenter import load

WHOLE, STREAM = "predict", "stream"
TENTHS = [share / 10 for share in range(1, 11)]


def peak_bytes() -> int:
    """Peak of this process."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Let the peak begin at what is held now."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def measured(path: Path, way: str, model: Path | None, backend: str) -> dict[str, Any]:
    """One scan in this process: as a whole, or plane by plane."""
    with load(model, device="cpu", backend=backend, threads=1) as segmenter:
        small = chest_phantom()
        segmenter.predict_buffer(small.hu, CtVolume(small.hu, small.affine, "hu", "warm").grid)
        volume = open_scan(path).volume
        voxels, grid = volume.voxels, volume.grid
        pushes_s: list[float] = []
        forget_peak()
        base = peak_bytes() - voxels.nbytes
        if way == WHOLE:
            start = time.perf_counter()
            result = segmenter.predict_buffer(voxels, grid)
        else:
            with segmenter.stream(grid, dtype=voxels.dtype.name, voxels=voxels) as stream:
                for k in range(stream.planes):
                    start = time.perf_counter()
                    stream.push(k)
                    pushes_s.append(time.perf_counter() - start)
                start = time.perf_counter()
                result = stream.finish()
        elapsed_s = time.perf_counter() - start
        return {
            "after_s": elapsed_s,
            "network_s": result.provenance.seconds["network"],
            "push_mean_ms": 1e3 * statistics.mean(pushes_s) if pushes_s else None,
            "push_longest_ms": 1e3 * max(pushes_s) if pushes_s else None,
            "peak": (peak_bytes() - base) / voxels.nbytes,
            "marked": int(np.count_nonzero(result.mask)),
            "backend": result.provenance.backend,
        }


def fresh(path: Path, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own."""
    given = [str(path), "--way", way, "--backend", options.backend]
    if options.model:
        given += ["--model", str(options.model)]
    done = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compared(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both ways by turns, the fastest of each."""
    turns = [{way: fresh(path, way, options) for way in (WHOLE, STREAM)} for _ in range(options.turns)]
    best = {
        way: min((turn[way] for turn in turns), key=lambda one: one["after_s"]) for way in (WHOLE, STREAM)
    }
    whole, stream = best[WHOLE], best[STREAM]
    assert whole["marked"] == stream["marked"]
    beside = {way: one["after_s"] - one["network_s"] for way, one in best.items()}
    return {
        "after": stream["after_s"] / whole["after_s"],
        "after_without_network": beside[STREAM] / beside[WHOLE],
        "ratios": [turn[STREAM]["after_s"] / turn[WHOLE]["after_s"] for turn in turns],
        **best,
    }


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
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--way", choices=[WHOLE, STREAM], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.scans[0], options.way, options.model, options.backend)))
        return
    report: dict[str, Any] = {}
    print("| scan | after | without network | push, ms | peak, whole | stream | box, up | down |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        scans = options.scans or [phantom(Path(folder), options.slices)]
        for path in scans:
            found, early = compared(path, options), earliest_box(path)
            report[path.name] = {**found, "early": early}
            stream = found[STREAM]
            print(
                f"| {path.name} | {found['after']:.3f} | {found['after_without_network']:.2f} | "
                f"{stream['push_mean_ms']:.1f} ({stream['push_longest_ms']:.1f}) | "
                f"{found[WHOLE]['peak']:.2f} | {stream['peak']:.2f} | "
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
