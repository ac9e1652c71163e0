"""CPU time of each stage that is not the network, and of the simple version it replaced.

    OPENBLAS_NUM_THREADS=1 python benchmarks/stages.py SCAN.nii.gz [SCAN.nii.gz ...] [--turns 5] [--json FILE]

One thread, the fastest of the turns; simple and present version take turns. Without the variable OpenBLAS
takes several threads for the simple resize, which wait in a busy loop. The simple versions are those with
which the tests compare. Stages without one have an empty cell, and parts of a stage are marked with a dash.
The last row is the whole way from file to mask and JSON with a network that takes no time and marks nothing.
"""

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, ByteArray, FloatArray
from infnet_runtime.backends.lungs import BATCH_SIZE, lung_network
from infnet_runtime.backends.session import ClosedByBlock, Outputs
from infnet_runtime.io import open_scan
from infnet_runtime.io.gzip_files import packed, unpacked
from infnet_runtime.lungs import air, closing, find_lungs, lung_box, reduced, slices_with_lung, split
from infnet_runtime.lungs.both_ways import take_from_network
from infnet_runtime.lungs.network import lung_planes, network_labels
from infnet_runtime.measure.burden import quantify
from infnet_runtime.model.asked import Asked, asked_of
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.model.manifest_file import manifest_of
from infnet_runtime.model.shipped import default_model
from infnet_runtime.plausible.coarse import coarse_chest
from infnet_runtime.plausible.doubts import doubts
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.report.text_and_json import to_json
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask, lung_mask
from infnet_runtime.segment.segmenter import Segmenter
from infnet_runtime.slices.preprocess import infected_on_grid, resize, resize_matrix, to_grey, to_network

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import simple_lungs
import simple_plausible

Job = Callable[[], object]
_CHUNK_BYTES = 1 << 20
_MOST_SLICES = 4  # of the stages that take a batch


@dataclass(frozen=True)
class Stage:
    """What is timed.

    Parameters
    ----------
    slices
        Of the scan, or of the part of it that the stage is given.
    """

    name: str
    simple: Job | None
    present: Job
    slices: int


class NoNetwork(ClosedByBlock):
    """A session that takes no time and marks nothing."""

    backend, device, precision, model_sha256, batch_size = "none", "cpu", "float32", "", 2
    coarse = None

    def __init__(self) -> None:
        model = default_model(int8=True)
        self.manifest = asked_of(manifest_of(model), Asked.INFECTION, str(model))

    def run(self, batch: FloatArray) -> Outputs:
        """No infection anywhere."""
        n, _, rows, columns = batch.shape
        return {
            spec.name: np.zeros((n, spec.channels, rows, columns), np.float32)
            for spec in self.manifest.outputs
        }

    def close(self) -> None:
        """Nothing to release."""


def stages(path: Path, folder: Path) -> list[Stage]:
    """All stages of a scan; what they need is made before."""
    volume, content = open_scan(path).volume, path.read_bytes()
    voxels, n = volume.to_lps(), len(volume.to_lps())
    labels = find_lungs(voxels, volume.lps_spacing_mm, volume.intensity)
    lungs = lung_mask(volume.from_lps(labels), volume.grid, origin="threshold", source=volume.source)
    label_bytes = volume.from_lps(labels).tobytes(order="F")
    return [
        Stage("inflate the scan", lambda: _inflate_gzip(content), lambda: _inflate(content), n),
        Stage("survey of the values", None, lambda: decide_intensity(volume.voxels, source=path.name), n),
        *_lung_stages(volume),
        *_doubt_stages(volume, lungs),
        *_batch_stages(volume, labels),
        Stage("count", lambda: count_whole(labels, labels), lambda: quantify(labels, labels, 1.0), n),
        Stage(
            "pack lungs as a mask",
            lambda: gzip.compress(label_bytes, compresslevel=1, mtime=0),
            lambda: _pack(label_bytes),
            n,
        ),
        Stage("**file to mask and JSON, no network**", None, lambda: whole(path, folder), n),
    ]


def _lung_stages(volume: CtVolume) -> list[Stage]:
    given = volume.to_lps(), volume.lps_spacing_mm, volume.intensity
    n = len(given[0])
    scan = reduced.reduce_scan(*given)
    parts = [
        Stage("find the lungs", lambda: simple_lungs.find_lungs(*given), lambda: find_lungs(*given), n),
        *_network_stages(volume),
    ]
    if scan is None:
        return parts
    found = air.lung_air(scan)
    sides = split.split_sides(found)
    closed = (sides, scan.values > simple_lungs.BONE_HU, scan.pixel_cm2, scan.pixels)
    small = closing.close_lungs(*closed)
    enlarged = small, given[0].shape, scan.step
    return [
        *parts,
        Stage("- reduce", lambda: simple_lungs.reduce_scan(*given), lambda: reduced.reduce_scan(*given), n),
        Stage("- air of lungs", lambda: simple_lungs.lung_air(scan), lambda: air.lung_air(scan), n),
        Stage("- sides", lambda: simple_lungs.split_sides(found), lambda: split.split_sides(found), n),
        Stage("- close", lambda: simple_lungs.close_lungs(*closed), lambda: closing.close_lungs(*closed), n),
        Stage("- enlarge", lambda: simple_lungs.enlarge(*enlarged), lambda: reduced.enlarge(*enlarged), n),
    ]


def _network_stages(volume: CtVolume) -> list[Stage]:
    """The lung network and the comparison; nothing where no file of one is there."""
    network = lung_network()
    if network is None:
        return []
    given = volume.to_lps(), volume.lps_spacing_mm, volume.intensity
    labels, spec = find_lungs(*given), network.manifest.spec
    planes = list(lung_planes(*given, spec, np.arange(_MOST_SLICES)[: len(given[0])]))
    batch = np.stack(planes[:BATCH_SIZE])

    def found() -> Iterator[ByteArray]:
        return network_labels(*given, network.run, spec=spec, batch_size=BATCH_SIZE)

    return [
        Stage("lungs by the network", None, lambda: take_from_network(found(), labels), len(labels)),
        Stage("- the network alone", None, lambda: network.run(batch), len(batch)),
    ]


def _doubt_stages(volume: CtVolume, lungs: LungMask) -> list[Stage]:
    voxels = volume.to_lps()
    chest = coarse_chest(volume, lungs)
    size = (1, 1) if chest is None else chest.lungs.shape[:0:-1]
    step = 1 if chest is None else round(chest.mm[0] / volume.lps_spacing_mm[0])
    return [
        Stage("what is doubtful", None, lambda: doubts(volume, lungs, has_size=True), len(voxels)),
        Stage(
            "- a coarse scan",
            lambda: simple_plausible.coarse_values(voxels[::step], size),
            lambda: coarse_chest(volume, lungs),
            len(voxels),
        ),
    ]


def _batch_stages(volume: CtVolume, lungs: ByteArray) -> list[Stage]:
    """Stages before and after the network, for some slices with lung."""
    spec = PreprocessSpec()
    rows, columns = lung_box(lungs, volume.lps_spacing_mm, spec.crop_margin_mm)
    first = int(slices_with_lung(lungs)[0])
    box = volume.to_lps()[first : first + _MOST_SLICES, rows, columns]
    grey, n = to_grey(box, volume.intensity, spec), len(box)
    small, shape = resize(grey, spec.size, spec.size), grey.shape[1:]
    return [
        Stage("network input", None, lambda: to_network(box, volume.intensity, spec), n),
        Stage(
            "- resize",
            lambda: resize_whole(grey, spec.size, spec.size),
            lambda: resize(grey, spec.size, spec.size),
            n,
        ),
        Stage("resize to the scan", lambda: resize_whole(small, *shape), lambda: resize(small, *shape), n),
        Stage(
            "threshold on the scan, no infection",
            lambda: resize_whole(small * 0, *shape) >= 0.5,
            lambda: infected_on_grid(small * 0, *shape, threshold=0.5),
            n,
        ),
    ]


def whole(path: Path, folder: Path) -> None:
    """A scan from its file to mask and JSON."""
    scan = open_scan(path)
    with Segmenter(NoNetwork(), threads=1) as segmenter:
        result = segmenter.predict(scan.volume)
    scan.write_mask(folder / f"mask{scan.mask_suffix}", result.mask)
    (folder / "report.json").write_text(to_json(result, outputs={}), "utf-8")


def resize_whole(images: FloatArray, rows: int, columns: int) -> FloatArray:
    """The resize as one product of matrices along each axis."""
    vertical, horizontal = resize_matrix(images.shape[1], rows), resize_matrix(images.shape[2], columns)
    return np.asarray(vertical @ images @ horizontal.T, np.float32)


def count_whole(infection: AnyArray, lungs: AnyArray) -> list[npt.NDArray[np.int64]]:
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
        with tempfile.TemporaryDirectory() as folder:
            for stage in stages(path, Path(folder)):
                times = fastest_ms([stage.simple, stage.present], options.turns)
                per_slice = [None if t is None else t / stage.slices for t in times]
                report[path.name][stage.name.strip("*- ")] = dict(
                    zip(("simple_ms", "present_ms"), per_slice, strict=True)
                )
                cells = " | ".join("" if t is None else f"{t:.2f}" for t in per_slice)
                print(f"| {stage.name} | {cells} |", flush=True)
        print()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
