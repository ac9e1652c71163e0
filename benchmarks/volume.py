"""From a file to mask and JSON: what it costs beside the way of a test script, and where the time goes.

    python benchmarks/volume.py SCAN.nii.gz [SCAN.nii.gz ...] [--model INT8.onnx] [--weights W.safetensors]
        [--backend onnxruntime] [--turns 3] [--json FILE]

Contenders take turns, each in a fresh process, so that none warms the caches of another:

- ``torch``: the way a test script works. The network as trained, eager, float32, batch 1, every slice; the
  same reader, lungs and outputs as below.
- ``network alone``: ONNX Runtime with the same model, batch 1, every slice, inputs ready in memory.
- ``infnet``: ``Segmenter``, as the command line runs it.
- ``infnet, command`` and ``torch, command``: one scan from the command line, start and load included: a later
  run of ``infnet-infer``, and a process that does what ``torch`` does.

CPU time is that of the process with one thread, but for the commands with the model loaded and warm; it
leaves out what others take from the machine but not how they fill its caches, so compare ratios, and only
within one run. With ``--wall`` the contenders also run with all threads, and wall time is given. The peak of
memory is that of the process over the scan, above what it was with the model loaded and warm.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.candidates import CPU, candidates
from infnet_runtime.backends.session import Outputs, run_checked
from infnet_runtime.cpu import bf16_unit, int8_unit, usable_cores
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.lungs import find_lungs, lung_box
from infnet_runtime.measure.burden import quantify
from infnet_runtime.model.manifest import ModelManifest, OutputSpec, PreprocessSpec
from infnet_runtime.model.shipped import default_model
from infnet_runtime.report.text_and_json import to_json
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.segment.segmenter import Segmenter
from infnet_runtime.slices.preprocess import from_network, to_network

Run = Callable[[FloatArray], FloatArray]

TORCH, ALONE, INFNET = "torch", "network alone", "infnet"
FAST = "infnet, fast"  # the same with fast=True; for goals.py
CONTENDERS = (TORCH, ALONE, INFNET)
TORCH_COMMAND, INFNET_COMMAND = "torch, command", "infnet, command"
ALONE_BACKEND = "onnxruntime"
DEFAULT_BACKEND = candidates(None, device=CPU)[0].backend
GOALS = {TORCH: 10.0, ALONE: 1.0}  # times the CPU time of infnet, at least
COMMAND_GOAL = 7.0  # the same of the two commands
_PEAK_SEEN_S = 0.01  # the peak of another process can be read while it lives, and only grows
OUTSIDE_GOAL_MS = 3.0  # of CPU time for a slice of the scan that is not the network
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MIB = 2**20


class CountedSession:
    """A session that adds up the CPU time of its runs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.cpu_s = 0.0
        self.slices = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the session has
        return getattr(self._session, name)

    def run(self, batch: FloatArray) -> Outputs:
        """Run a batch, and count it. Other threads count as well: use one thread."""
        start = time.process_time()
        output = self._session.run(batch)
        self.cpu_s += time.process_time() - start
        self.slices += len(batch)
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()


def every_slice(path: Path, out: Path, spec: PreprocessSpec, run: Run) -> int:
    """One slice after another through a network, without leaving any out: to mask and JSON files."""
    scan = open_scan(path)
    volume, output = scan.volume, OutputSpec()
    voxels = volume.to_lps()
    lungs = find_lungs(voxels, volume.lps_spacing_mm, volume.intensity)
    rows, columns = lung_box(lungs, volume.lps_spacing_mm, spec.crop_margin_mm)
    mask = np.zeros(voxels.shape, np.uint8)
    for k in range(len(voxels)):
        box = voxels[k : k + 1, rows, columns]
        own = run(to_network(box, volume.intensity, spec))
        probability = from_network(own, *box.shape[1:], temperature=output.temperature)
        mask[k : k + 1, rows, columns] = (probability >= output.threshold) & (
            lungs[k : k + 1, rows, columns] > 0
        )
    found = quantify(mask, lungs, volume.grid.voxel_ml)
    scan.write_mask(out / f"mask{scan.mask_suffix}", volume.from_lps(mask))
    (out / "report.json").write_text(json.dumps(found.to_dict()), "utf-8")
    return len(voxels)


def network_inputs(path: Path, manifest: ModelManifest) -> FloatArray:
    """Inputs of all slices of a scan."""
    volume = open_scan(path).volume
    voxels = volume.to_lps()
    lungs = find_lungs(voxels, volume.lps_spacing_mm, volume.intensity)
    rows, columns = lung_box(lungs, volume.lps_spacing_mm, manifest.preprocess.crop_margin_mm)
    return to_network(voxels[:, rows, columns], volume.intensity, manifest.preprocess)


def work(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Run one contender in this process."""
    import cv2

    name, path, threads = options.work, options.scans[0], options.threads
    cv2.setNumThreads(threads)
    if name in (TORCH, TORCH_COMMAND):
        run, spec = torch_network(options.weights, threads)
        if name == TORCH_COMMAND:
            return {"slices": every_slice(path, out, spec, run)}
        run(np.zeros((1, 3, spec.size, spec.size), np.float32))
        return clocked(lambda: {"slices": every_slice(path, out, spec, run)})
    backend = ALONE_BACKEND if name == ALONE else options.backend
    session = CountedSession(open_session(options.model, device="cpu", threads=threads, backend=backend))
    with session:
        if name == ALONE:
            inputs = network_inputs(path, session.manifest)
            run_checked(session, inputs[:1])

            def alone() -> dict[str, Any]:
                for k in range(len(inputs)):
                    run_checked(session, inputs[k : k + 1])
                return {"slices": len(inputs)}

            return clocked(alone)
        segmenter = Segmenter(session, threads=threads)
        segmenter.predict(_small())
        session.cpu_s = 0.0

        def whole() -> dict[str, Any]:
            scan = open_scan(path)
            result = segmenter.predict(scan.volume, fast=name == FAST)
            scan.write_mask(out / f"mask{scan.mask_suffix}", result.mask)
            (out / "report.json").write_text(to_json(result, outputs={}), "utf-8")
            return {
                "slices": result.provenance.slices_run,
                "slices_skipped": result.provenance.slices_skipped,
                "slices_of_scan": result.volume.grid.lps_shape[0],
                "batch_size": result.provenance.batch_size,
                "raw_mib": result.volume.voxels.nbytes / _MIB,
                "stages_s": result.provenance.seconds,
            }

        measured = clocked(whole)
        return {**measured, "network_cpu_s": session.cpu_s, "backend": session.backend}


def clocked(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Times of a job, the growth of the peak of memory over it, and what it returns."""
    before = _peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    result = job()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_s": cpu, "wall_s": wall, "base_mib": before, "peak_mib": _peak_mib(), **result}


def torch_network(weights: Path | None, threads: int) -> tuple[Run, PreprocessSpec]:
    """The network as trained, in eager mode; random weights take the same time."""
    import torch

    from infnet_export.network.exportable import read_trained
    from infnet_train.networks import InfNet
    from infnet_train.weights.trained import TrainedNetwork

    torch.set_num_threads(threads)
    trained = read_trained(weights) if weights else TrainedNetwork(InfNet().eval(), PreprocessSpec())
    network = trained.network.eval()

    def run(batch: FloatArray) -> FloatArray:
        with torch.inference_mode():
            logits = network(torch.from_numpy(batch)).s3  # (1, 1, size, size)
            return np.asarray(torch.sigmoid(logits)[:, 0].numpy())

    return run, trained.preprocess


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All contenders on all scans, by turns."""
    scans: list[dict[str, Any]] = []
    for path in options.scans:
        turns: list[dict[str, Any]] = []
        for turn in range(options.turns):
            row = {name: _in_process(name, path, options, 1) for name in CONTENDERS}
            row |= commands(path, options)
            if options.wall:
                row |= {
                    f"{name}, all threads": _in_process(name, path, options, usable_cores())
                    for name in CONTENDERS
                }
            turns.append(row)
            print(f"{path.name}: turn {turn + 1} of {options.turns}", file=sys.stderr)
        scans.append({"scan": path.name, "turns": turns, **summary(turns)})
    return {
        "system": f"{platform.system()} {platform.machine()}, {_processor()}, {usable_cores()} cores, "
        f"{units()}",
        "python": platform.python_version(),
        "model": options.model.name,
        "backend": options.backend,
        "goals": {**GOALS, "outside the network, ms a slice": OUTSIDE_GOAL_MS},
        "scans": scans,
    }


def summary(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the turns, and ratios turn by turn so that a slow minute hits both sides."""

    def ratios(name: str) -> list[float]:
        return [turn[name]["cpu_s"] / turn[INFNET]["cpu_s"] for turn in turns]

    commands = [turn[TORCH_COMMAND]["cpu_s"] / turn[INFNET_COMMAND]["cpu_s"] for turn in turns]
    own = [turn[INFNET] for turn in turns]
    outside = [row["cpu_s"] - row["network_cpu_s"] for row in own]
    growth = [(t[INFNET]["peak_mib"] - t[INFNET]["base_mib"]) / t[INFNET]["raw_mib"] for t in turns]
    return {
        "ratio": {name: statistics.median(ratios(name)) for name in GOALS},
        "ratio_range": {name: [min(ratios(name)), max(ratios(name))] for name in GOALS},
        "command_ratio": statistics.median(commands),
        "command_ratio_range": [min(commands), max(commands)],
        "outside_network": statistics.median(s / row["cpu_s"] for s, row in zip(outside, own, strict=True)),
        "outside_network_ms": statistics.median(
            1e3 * s / row["slices_of_scan"] for s, row in zip(outside, own, strict=True)
        ),
        "peak_above_base_to_raw": max(growth),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Table of the contenders, and a line on the goals, for each scan."""
    parts = [f"{report['system']}; model {report['model']} on {report['backend']}"]
    for scan in report["scans"]:
        lines = [
            f"**{scan['scan']}**",
            "",
            "| contender | slices run | CPU s | wall s | peak MiB above base |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name in scan["turns"][0]:
            rows = [turn[name] for turn in scan["turns"]]
            cpu, wall = (statistics.median(r[key] for r in rows) for key in ("cpu_s", "wall_s"))
            grown = [r["peak_mib"] - r["base_mib"] for r in rows if "peak_mib" in r]
            peak = f"{max(grown):.0f}" if grown else "-"
            lines.append(f"| {name} | {rows[0]['slices']} | {cpu:.2f} | {wall:.2f} | {peak} |")
        ratio, spread = scan["ratio"], scan["ratio_range"]
        goals = [
            f"{name}: {ratio[name]:.2f} times the CPU time of infnet "
            f"({spread[name][0]:.2f} to {spread[name][1]:.2f}; goal {goal:g})"
            for name, goal in GOALS.items()
        ]
        low, high = scan["command_ratio_range"]
        goals.append(
            f"{TORCH_COMMAND}: {scan['command_ratio']:.2f} times the CPU time of {INFNET_COMMAND} "
            f"({low:.2f} to {high:.2f}; goal {COMMAND_GOAL:g})"
        )
        goals.append(
            f"outside the network: {scan['outside_network_ms']:.2f} ms a slice, "
            f"{scan['outside_network']:.1%} of its CPU time (goal {OUTSIDE_GOAL_MS:g} ms)"
        )
        goals.append(f"{scan['peak_above_base_to_raw']:.2f} times the raw voxels at the peak, above the base")
        parts.append("\n".join([*lines, "", *(f"- {goal}" for goal in goals)]))
    return "\n\n".join(parts)


def commands(path: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """One scan from the command line, by infnet and with PyTorch: all that their processes take."""
    with tempfile.TemporaryDirectory() as folder:
        infer, kept = _later_run(Path(folder), options, threads=1)
        said, infnet = _process([*infer, str(path.absolute())], **kept)
        infnet["slices"] = json.loads(said)["provenance"]["slices_run"]
        said, torch = _process(_contender(TORCH_COMMAND, path, options, 1))
        torch["slices"] = json.loads(said)["slices"]
    return {INFNET_COMMAND: infnet, TORCH_COMMAND: torch}


def command_peak_mib(path: Path, options: argparse.Namespace, *, threads: int) -> float:
    """Peak of memory of ``infnet-infer`` over one scan, seen from outside; Linux only."""
    with tempfile.TemporaryDirectory() as folder:
        infer, kept = _later_run(Path(folder), options, threads=threads)
        command = [*infer, str(path.absolute())]
        peak = 0.0
        with subprocess.Popen(command, env={**os.environ, **kept}, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None:
                peak = max(peak, _peak_mib(str(running.pid)))
                time.sleep(_PEAK_SEEN_S)
        if running.returncode:
            raise subprocess.CalledProcessError(running.returncode, command)
        return peak


def _later_run(own: Path, options: argparse.Namespace, *, threads: int) -> tuple[list[str], dict[str, str]]:
    """``infnet-infer`` after an earlier run, which leaves its compiled model; and its environment."""
    small = own / "small.nii.gz"
    phantom = chest_phantom((16, 256, 256), (15.0, 1.4, 1.4))
    write_nifti(small, phantom.hu, phantom.affine)
    infer = [sys.executable, "-m", "infnet_runtime.cli", "--model", str(options.model), "--device", "cpu"]
    infer += ["--backend", options.backend, "--threads", str(threads), "--json", "--quiet"]
    infer += ["-o", str(own / "out")]
    kept = {"INFNET_CACHE": str(own / "cache")}
    _process([*infer, str(small)], **kept)
    return infer, kept


def _process(command: list[str], **variables: str) -> tuple[str, dict[str, Any]]:
    """What a command with one thread prints, and what its process takes."""
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), **variables}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - wall
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, {"cpu_s": cpu, "wall_s": wall}


def _contender(name: str, path: Path, options: argparse.Namespace, threads: int) -> list[str]:
    command = [sys.executable, __file__, str(path), "--model", str(options.model)]
    command += ["--work", name, "--threads", str(threads), "--backend", options.backend]
    return command + (["--weights", str(options.weights)] if options.weights else [])


def _in_process(name: str, path: Path, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    one_thread = dict.fromkeys(_ONE_THREAD, "1") if threads == 1 else {}
    done = subprocess.run(
        _contender(name, path, options, threads),
        env={**os.environ, **one_thread},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _small() -> CtVolume:
    """A scan to warm up with; memory and code of every stage are there afterwards."""
    phantom = chest_phantom((16, 256, 256), (15.0, 1.4, 1.4))
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")


def _peak_mib(process: str = "self") -> float:
    try:  # getrusage of Linux also counts the process that started this one, before its program was loaded
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        if process != "self":
            return 0.0  # it has ended
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (_MIB if sys.platform == "darwin" else 1024)
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def units() -> str:
    """What the processor has for 8-bit products and for bfloat16, in words."""
    return f"8-bit products: {int8_unit() or 'none'}, bfloat16: {bf16_unit() or 'none'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "processor not known")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, nargs="+", help="CT volumes, .nii.gz")
    parser.add_argument("--model", type=Path, help="ONNX model; the shipped one for this processor if absent")
    parser.add_argument("--backend", default=DEFAULT_BACKEND, help="of infnet; what auto takes if absent")
    parser.add_argument("--weights", type=Path, help="of a training, for torch; random ones where absent")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--wall", action="store_true", help="also with all threads")
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--work", choices=(*CONTENDERS, FAST, TORCH_COMMAND), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or default_model(int8=True)
    return options


def main() -> None:
    options = _options()
    if options.work:
        with tempfile.TemporaryDirectory() as folder:
            result = work(options, Path(folder))
        print(json.dumps(result))
        return
    report = measure(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
