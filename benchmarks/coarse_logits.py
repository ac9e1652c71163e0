"""What coarse logits save: network and mask of a slice with them and with the full map, side by side.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/coarse_logits.py MODEL.onnx [MODEL.onnx ...]
        --scans SCAN.nii.gz [SCAN.nii.gz ...] [--slices 8] [--turns 15] [--json FILE]

The models give coarse logits (``infnet-export coarse-logits``). CPU time of the process with one thread, the
two by turns, the median of the turns; slices with and without infection apart, and the mask alone, from what
the network gives to the scan's grid. Then how far the probabilities are from each other, and in how many
voxels the masks differ.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import infection_logits, infection_probability
from infnet_runtime.io import open_scan
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.enlarge import enlarged, infected_from_logits
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import infected_on_grid

BACKENDS = ("onnxruntime", "openvino")
BATCH = 2


@dataclass(frozen=True, eq=False)
class Slices:
    """Some slices of a scan, ready for the network, and the size of the box they come from."""

    batch: FloatArray
    box: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Pair:
    """A model opened twice."""

    full: Session
    coarse: Session

    def by_full_map(self, own: FloatArray, box: tuple[int, int]) -> BoolArray:
        """Mask of the probabilities on the network's grid."""
        spec = self.full.manifest.output
        return infected_on_grid(own, *box, threshold=spec.threshold, temperature=spec.temperature)

    def by_logits(self, own: FloatArray, box: tuple[int, int]) -> BoolArray:
        """Mask of coarse logits."""
        spec, coarse = self.full.manifest.output, self.coarse.coarse
        assert coarse
        return infected_from_logits(
            own, coarse.factor, *box, threshold=spec.threshold, temperature=spec.temperature
        )

    def logits(self, batch: FloatArray) -> FloatArray:
        """What the network gives."""
        assert self.coarse.coarse
        return infection_logits(self.coarse, batch, self.coarse.coarse)


def slices_of(path: Path, manifest: ModelManifest, count: int) -> Slices:
    """Slices with lung, evenly spaced."""
    volume = open_scan(path).volume
    looked_at = region(lungs_of(volume, None)[0], volume.grid, manifest.preprocess.crop_margin_mm)
    places = np.linspace(0, len(looked_at.slices) - 1, min(count, len(looked_at.slices))).round().astype(int)
    picked = [looked_at.slices[k] for k in np.unique(places)]
    batch = volume_to_network(
        volume.to_lps(),
        picked,
        (looked_at.rows, looked_at.columns),
        volume.intensity,
        manifest.preprocess,
        spacing_mm=volume.lps_spacing_mm[0],
    )
    return Slices(batch, looked_at.box_shape)


def cpu_ms(job: Callable[[], object], slices: int) -> float:
    """CPU time a slice of one call."""
    start = time.process_time()
    job()
    return 1e3 * (time.process_time() - start) / slices


def by_turns(jobs: list[Callable[[], object]], slices: int, turns: int) -> list[float]:
    """Median CPU time a slice of each job."""
    found: list[list[float]] = [[] for _ in jobs]
    for turn in range(turns + 1):  # the first is left out
        for times, job in zip(found, jobs, strict=True):
            took = cpu_ms(job, slices)
            if turn:
                times.append(took)
    return [statistics.median(times) for times in found]


def timed(pair: Pair, some: Slices, turns: int) -> dict[str, Any]:
    """One batch with the full map and with coarse logits: all of it, and the mask alone."""
    batch, box = some.batch[:BATCH], some.box
    own, logits = infection_probability(pair.full, batch), pair.logits(batch)
    full, coarse = by_turns(
        [
            lambda: pair.by_full_map(infection_probability(pair.full, batch), box),
            lambda: pair.by_logits(pair.logits(batch), box),
        ],
        len(batch),
        turns,
    )
    mask_full, mask_coarse = by_turns(
        [lambda: pair.by_full_map(own, box), lambda: pair.by_logits(logits, box)], len(batch), 3 * turns
    )
    return {
        "full_ms": full,
        "coarse_ms": coarse,
        "ratio": coarse / full,
        "mask_full_ms": mask_full,
        "mask_coarse_ms": mask_coarse,
    }


def measured(pair: Pair, scans: list[Slices], turns: int) -> dict[str, Any]:
    """Distances over all slices, then times of slices with and without infection."""
    assert pair.coarse.coarse
    farthest, flipped, marked = 0.0, 0, 0
    kinds: dict[str, Slices] = {}
    for some in scans:
        for one in np.split(some.batch, len(some.batch)):
            own, logits = infection_probability(pair.full, one), pair.logits(one)
            distance = np.abs(own - enlarged(logits, pair.coarse.coarse.factor))
            farthest = max(farthest, float(distance.max()))
            mask, other = pair.by_full_map(own, some.box), pair.by_logits(logits, some.box)
            flipped += int(np.count_nonzero(mask != other))
            marked += int(np.count_nonzero(mask))
            kind = "infected" if mask.any() else "healthy"
            kinds.setdefault(kind, Slices(np.repeat(one, BATCH, axis=0), some.box))
    return {
        "slices": sum(len(some.batch) for some in scans),
        "largest_distance": farthest,
        "voxels_marked": marked,
        "voxels_that_differ": flipped,
        **{kind: timed(pair, some, turns) for kind, some in sorted(kinds.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="ONNX files that give coarse logits")
    parser.add_argument("--scans", type=Path, nargs="+", required=True, help="CT volumes")
    parser.add_argument("--slices", type=int, default=8, help="of each scan")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict[str, Any] = {}
    scans: list[Slices] | None = None
    for path in options.models:
        for backend in (b for b in BACKENDS if find_spec(b)):
            common: dict[str, Any] = {"backend": backend, "device": "cpu", "threads": 1}
            with open_session(path, **common) as full, open_session(path, **common, coarse=True) as coarse:
                if coarse.coarse is None:
                    parser.error(f"{path} gives no coarse logits; add them with infnet-export coarse-logits")
                scans = scans or [slices_of(s, full.manifest, options.slices) for s in options.scans]
                found = measured(Pair(full, coarse), scans, options.turns)
            report[f"{path.name}, {backend}"] = found
            print(
                f"**{path.name}, {backend}**: probabilities of {found['slices']} slices differ by at most "
                f"{found['largest_distance']:.1e}, masks in {found['voxels_that_differ']} of "
                f"{found['voxels_marked']} voxels\n"
            )
            print("| slice | full map, ms | coarse, ms | ratio | of it mask, full | of it mask, coarse |")
            print("| --- | --- | --- | --- | --- | --- |")
            for kind in ("healthy", "infected"):
                if kind in found:
                    row = found[kind]
                    print(
                        f"| {kind} | {row['full_ms']:.1f} | {row['coarse_ms']:.1f} | {row['ratio']:.3f} "
                        f"| {row['mask_full_ms']:.2f} | {row['mask_coarse_ms']:.2f} |"
                    )
            print(flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
