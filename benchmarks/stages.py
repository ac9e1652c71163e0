"""CPU time of each stage that is not the network, and of the simple version it replaced.

    OPENBLAS_NUM_THREADS=1 python benchmarks/stages.py SCAN.nii.gz [SCAN.nii.gz ...] [--turns 5] [--json FILE]

One thread, the fastest of the turns; simple and present version take turns. Without the variable OpenBLAS
takes several threads for the simple resize, which wait in a busy loop. Stages without a simple version have
an empty cell.
"""

import argparse
import gzip
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_runtime.io import open_scan
from infnet_runtime.io.gzip_files import packed, unpacked
from infnet_runtime.lungs import find_lungs, lung_box, slices_with_lung
from infnet_runtime.measure.burden import quantify
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.slices.preprocess import infected_on_grid, resize, resize_matrix, to_grey, to_network

Job = Callable[[], object]
_CHUNK_BYTES = 1 << 20
_MOST_SLICES = 4  # of the stages that take a batch


def jobs(path: Path) -> dict[str, tuple[Job | None, Job, int]]:
    """Name of a stage to its simple and its present version, and the slices they take."""
    volume = open_scan(path).volume
    voxels, spec = volume.to_lps(), PreprocessSpec()
    lungs = find_lungs(voxels, volume.lps_spacing_mm, volume.intensity)
    rows, columns = lung_box(lungs, volume.lps_spacing_mm, spec.crop_margin_mm)
    picked = slices_with_lung(lungs)[:_MOST_SLICES]
    box = np.ascontiguousarray(voxels[picked, rows, columns])
    grey = to_grey(box, volume.intensity, spec)
    small = resize(grey, spec.size, spec.size)
    content = path.read_bytes()
    label_bytes = volume.from_lps(lungs).tobytes(order="F")
    n, taken = len(voxels), len(picked)
    return {
        "inflate the scan": (lambda: _inflate_gzip(content), lambda: _inflate(content), n),
        "survey of the values": (None, lambda: decide_intensity(volume.voxels, source=path.name), n),
        "lungs": (None, lambda: find_lungs(voxels, volume.lps_spacing_mm, volume.intensity), n),
        "resize to the network": (
            lambda: resize_whole(grey, spec.size, spec.size),
            lambda: resize(grey, spec.size, spec.size),
            taken,
        ),
        "all of the preprocessing": (None, lambda: to_network(box, volume.intensity, spec), taken),
        "resize to the scan": (
            lambda: resize_whole(small, *grey.shape[1:]),
            lambda: resize(small, *grey.shape[1:]),
            taken,
        ),
        "threshold on the scan, no infection": (
            lambda: resize_whole(small * 0, *grey.shape[1:]) >= 0.5,
            lambda: infected_on_grid(small * 0, *grey.shape[1:], threshold=0.5),
            taken,
        ),
        "counting": (
            lambda: count_whole(lungs, lungs),
            lambda: quantify(lungs, lungs, 1.0),
            n,
        ),
        "pack lungs as a mask": (
            lambda: gzip.compress(label_bytes, compresslevel=1, mtime=0),
            lambda: _pack(label_bytes),
            n,
        ),
    }


def resize_whole(images: FloatArray, rows: int, columns: int) -> FloatArray:
    """The resize as one product of matrices along each axis."""
    vertical, horizontal = resize_matrix(images.shape[1], rows), resize_matrix(images.shape[2], columns)
    return np.asarray(vertical @ images @ horizontal.T, np.float32)


def count_whole(infection: ByteArray, lungs: ByteArray) -> list[npt.NDArray[np.int64]]:
    """Histograms of the labels."""
    return [
        sum((np.bincount(plane.ravel(), minlength=256) for plane in labels), np.zeros(256, np.int64))
        for labels in (lungs, lungs * (infection > 0))
    ]


def _inflate_gzip(content: bytes) -> None:
    stream = gzip.GzipFile(fileobj=io.BytesIO(content))
    while stream.read(_CHUNK_BYTES):
        pass


def _inflate(content: bytes) -> None:
    with unpacked(io.BytesIO(content)) as stream:
        while stream.read(_CHUNK_BYTES):
            pass


def _pack(content: bytes) -> bytes:
    file = io.BytesIO()
    with packed(file) as stream:
        stream.write(content)
    return file.getvalue()


def fastest_ms(versions: list[Job | None], turns: int) -> list[float | None]:
    """CPU time of the fastest turn of each version."""
    best: list[float | None] = [None] * len(versions)
    for _ in range(turns):
        for k, job in enumerate(versions):
            if job is None:
                continue
            start = time.process_time()
            job()
            elapsed_ms = 1e3 * (time.process_time() - start)
            known = best[k]
            best[k] = elapsed_ms if known is None else min(known, elapsed_ms)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, nargs="+", help="CT volumes, .nii.gz")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict[str, Any] = {}
    for path in options.scans:
        print(f"**{path.name}**\n\n| stage | simple, ms a slice | present, ms a slice |\n| --- | --- | --- |")
        report[path.name] = {}
        for name, (simple, present, slices) in jobs(path).items():
            times = fastest_ms([simple, present], options.turns)
            per_slice = [None if t is None else t / slices for t in times]
            report[path.name][name] = dict(zip(("simple_ms", "present_ms"), per_slice, strict=True))
            print(f"| {name} | " + " | ".join("" if t is None else f"{t:.2f}" for t in per_slice) + " |")
        print()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
