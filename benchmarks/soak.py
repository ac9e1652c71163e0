"""Months in minutes: many volumes from several threads with one model, others loaded and freed meanwhile.

    python benchmarks/soak.py [--volumes 500] [--callers 4] [--threads 1] [--backend BACKEND] [--model FILE]
        [--short] [--json FILE]

A host program in one process. First 100 volumes by one thread: the results that all others must be equal
to, and the latency of the first and of the hundredth volume. Then as many as asked for, in rounds of 20 by
several threads at once, into memory of their own. In every round a model of each backend is loaded beside,
used and freed; one volume is refused, and one run is cancelled. At the end of a round, while nothing runs,
memory, threads and file descriptors are read. Last, as many volumes as there are callers, one after another
and all at once, by turns.

The volumes are phantoms of few slices: what is lost at a call is lost whatever its size. The line through the
memory starts after a fifth of the rounds. Its confidence is that of least squares, wider by what neighbouring
rounds have in common. Leaves with 1 if a result differs, threads or descriptors are left, or the memory
surely grows by more than 4 KiB a volume.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime import Cancel, Cancelled, Grid, InputError, Segmenter, load
from infnet_runtime.backends.candidates import CPU, ONNXRUNTIME, OPENVINO, candidates, is_installed
from infnet_runtime.cpu import usable_cores
from infnet_runtime.instructions import cpu_flags
from infnet_runtime.scan.phantom import chest_phantom

SHAPE, SPACING_MM = (3, 160, 192), (80.0, 2.0, 2.0)  # of few thick slices; the network sees one
KINDS = 5  # different volumes
ROUND = 20  # volumes between two readings of memory
ALONE = 100  # volumes of one thread
TURNS = 5  # of one after another against all at once
MOST_KIB = 4.0  # a volume; 500 000 volumes, a year of one a minute, are then 2 GiB
_SIGMAS = 1.96
_KIB = 1024


@dataclass(frozen=True)
class Reading:
    """What the process holds while nothing runs."""

    volumes: int
    rss_kib: int
    threads: int
    descriptors: int


@dataclass(frozen=True)
class Line:
    """Growth by the volume: slope, and the ends of its 95 % confidence, KiB."""

    slope: float
    low: float
    high: float


def reading(volumes: int) -> Reading:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    count = {name: len(os.listdir(f"/proc/self/{name}")) for name in ("task", "fd")}  # noqa: PTH208 - both alike
    return Reading(volumes, pages * os.sysconf("SC_PAGE_SIZE") // _KIB, count["task"], count["fd"])


def fitted(readings: list[Reading]) -> Line:
    """Least squares through memory against volumes."""
    x = np.array([one.volumes for one in readings], float)
    y = np.array([one.rss_kib for one in readings], float)
    x -= x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / max(len(x) - 2, 1) / float(x @ x))
    # What is left of a reading resembles what is left of the one before: there are fewer than it seems.
    alike = float(rest[1:] @ rest[:-1] / (rest @ rest)) if rest.any() else 0.0
    alike = min(max(alike, 0.0), 0.95)
    wide = _SIGMAS * error * math.sqrt((1 + alike) / (1 - alike))
    return Line(slope, slope - wide, slope + wide)


class Host:
    """A program with volumes in its memory.

    Parameters
    ----------
    model
        Of :func:`infnet_runtime.load`, as ``threads``.
    """

    def __init__(self, model: Path | None, threads: int) -> None:
        self._model, self._threads = model, threads
        self.volumes = [
            np.ascontiguousarray(chest_phantom(SHAPE, SPACING_MM, seed=seed, infected=seed > 0).hu)
            for seed in range(KINDS)
        ]
        self.grid = Grid.from_spacing(SHAPE, SPACING_MM, "SPL")
        self.differing = 0

    def opened(self, backend: str) -> Segmenter:
        """A model of its own."""
        return load(self._model, device="cpu", backend=backend, threads=self._threads)

    def result(self, model: Segmenter, kind: int) -> tuple[bytes, str, float]:
        """Mask and probabilities, numbers, and the seconds that they took, of one of the volumes."""
        mask, probability = np.empty(SHAPE, np.uint8), np.empty(SHAPE, np.float16)
        start = time.perf_counter()
        found = model.predict_buffer(self.volumes[kind], self.grid, out=mask, probability_out=probability)
        seconds = time.perf_counter() - start
        return (
            mask.tobytes() + probability.tobytes(),
            json.dumps(found.quantification.to_dict(), sort_keys=True),
            seconds,
        )

    def compare(self, found: tuple[bytes, str, float], expected: tuple[bytes, str, float]) -> float:
        """Count what differs; the seconds."""
        self.differing += found[:2] != expected[:2]
        return found[2]

    def refused(self, model: Segmenter) -> None:
        """A volume of zeros, and one that is cancelled as its first slice is done."""
        cancel = Cancel()
        try:
            model.predict_buffer(np.zeros(SHAPE, np.int16), self.grid)
            self.differing += 1
        except InputError:
            pass
        try:
            model.predict_buffer(
                self.volumes[1], self.grid, batch_size=1, cancel=cancel, progress=lambda *_: cancel.cancel()
            )
            self.differing += 1
        except Cancelled:
            pass


def quickest(works: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Wall time and CPU time of the quickest turn of each, by turns."""
    best: dict[str, float] = {}
    for _ in range(turns):
        for name, one in works.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            one()
            took = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu_start}
            for clock, seconds in took.items():
                best[f"{name}_{clock}_s"] = min(seconds, best.get(f"{name}_{clock}_s", math.inf))
    return best


def soak(
    host: Host, backend: str, others: list[str], *, volumes: int, callers: int, alone: int, turns: int
) -> dict[str, Any]:
    """Run all of it; the numbers."""
    start = time.perf_counter()
    with host.opened(backend) as model, ThreadPoolExecutor(callers) as pool:
        load_s = time.perf_counter() - start
        first = [host.result(model, k % KINDS) for k in range(KINDS)]
        seconds = [found[2] for found in first]
        seconds += [
            host.compare(host.result(model, k % KINDS), first[k % KINDS]) for k in range(KINDS, alone)
        ]
        expected = {}
        for name in others:
            with host.opened(name) as other:
                expected[name] = [host.result(other, k) for k in range(KINDS)]

        def run(numbers: Iterable[int]) -> list[float]:
            def one(k: int) -> float:
                return host.compare(host.result(model, k % KINDS), first[k % KINDS])

            return list(pool.map(one, numbers))

        def beside(k: int) -> None:
            for name in others:
                with host.opened(name) as other:
                    host.compare(host.result(other, k % KINDS), expected[name][k % KINDS])
            host.refused(model)

        readings, busy_s = [reading(0)], []
        for k, done in enumerate(range(0, volumes, ROUND)):
            waiting = pool.submit(beside, k)
            busy_s += run(range(done, min(done + ROUND, volumes)))
            waiting.result()
            readings.append(reading(min(done + ROUND, volumes)))
            print(readings[-1], file=sys.stderr, flush=True)
        clocks = quickest(
            {
                "one_by_one": lambda: [host.result(model, k % KINDS) for k in range(callers)],
                "at_once": lambda: run(range(callers)),
            },
            turns,
        )
    return {
        "latency_s": {
            "load": load_s,
            "first": seconds[0],
            f"number {len(seconds)}": seconds[-1],
            "median alone": statistics.median(seconds),
            "median of several, first quarter": statistics.median(busy_s[: -(-len(busy_s) // 4)]),
            "median of several, last quarter": statistics.median(busy_s[-(-len(busy_s) // 4) :]),
        },
        **clocks,
        "times_as_fast_at_once": clocks["one_by_one_wall_s"] / clocks["at_once_wall_s"],
        "models_loaded_and_freed": len(readings) * len(others),
        "readings": [asdict(one) for one in readings],
        "seconds": time.perf_counter() - start,
    }


def judged(found: dict[str, Any], host: Host) -> dict[str, Any]:
    """The line through the memory, what is left, and what is wrong with either."""
    readings = [Reading(**one) for one in found["readings"]]
    warm = readings[max(len(readings) // 5, 1) :]
    line = fitted(warm)
    left = {
        name: max(getattr(one, name) for one in warm[-3:]) - max(getattr(one, name) for one in warm[:3])
        for name in ("threads", "descriptors")
    }
    faults = [f"{name} left: {n}" for name, n in left.items() if n > 0]
    if host.differing:
        faults.append(f"results that differ: {host.differing}")
    if line.low > MOST_KIB:
        faults.append(f"memory grows by {line.slope:.1f} KiB a volume")
    return {
        "kib_a_volume": asdict(line),
        "left": left,
        "differing": host.differing,
        "faults": faults,
        "rss_mib": [warm[0].rss_kib / _KIB, warm[-1].rss_kib / _KIB],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=500)
    parser.add_argument("--callers", type=int, default=4, help="threads of the host that call")
    parser.add_argument("--threads", type=int, default=1, help="of each model")
    parser.add_argument("--backend", help="of the one model; the first that is installed where absent")
    parser.add_argument("--model", type=Path, help="the shipped one that suits the backend where absent")
    parser.add_argument("--short", action="store_true", help="few of everything, for a test")
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    volumes = 400 if options.short else options.volumes
    host = Host(options.model, options.threads)
    backend = options.backend or candidates(options.model, device=CPU)[0].backend
    others = [name for name in (OPENVINO, ONNXRUNTIME) if is_installed(name)]
    found = soak(
        host,
        backend,
        others,
        volumes=volumes,
        callers=options.callers,
        alone=2 * KINDS if options.short else ALONE,
        turns=1 if options.short else TURNS,
    )
    report = {
        "backend": backend,
        "volumes": volumes,
        "callers": options.callers,
        "threads_of_a_model": options.threads,
        "shape": SHAPE,
        "machine": f"{platform.machine()}, {usable_cores()} cores, avx512f {'avx512f' in cpu_flags()}",
        **judged(found, host),
        **found,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    line = report["kib_a_volume"]
    print(
        f"{volumes} volumes from {options.callers} threads, {found['models_loaded_and_freed']} models loaded "
        f"and freed: {line['slope']:+.2f} KiB a volume (95 %: {line['low']:+.2f} to {line['high']:+.2f}), "
        f"threads {report['left']['threads']:+d}, descriptors {report['left']['descriptors']:+d}, "
        f"{report['differing']} results differ; {found['times_as_fast_at_once']:.2f} times as fast as one "
        f"after another; latency {json.dumps({k: round(s, 3) for k, s in found['latency_s'].items()})}"
    )
    if report["faults"]:
        sys.exit("; ".join(report["faults"]))


if __name__ == "__main__":
    main()
