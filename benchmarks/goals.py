"""The goals for speed and size of the runtime, each measured here and now: ratios, and whether they are met.

    python benchmarks/goals.py [SCAN.nii.gz ...] [--model INT8.onnx] [--backend onnxruntime] [--turns 1]
        [--skip memory install] [--json FILE]

Without scans two phantoms are written and measured, 630 x 630 x 45 and 512 x 512 x 133. ``volume.py`` says
how the contenders run. The goal against PyTorch is one for processors with AMX or VNNI; the first line says
what this one has. Memory is that of the command, model and libraries included, over the raw voxels of
phantoms of 512 x 512 x 300 and x 1200; import and ``--help`` are CPU time over that of ``import numpy``.
The download size needs an index of packages (``--skip install`` where there is none).

``just bench`` runs this.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import volume
from install_size import LIMITS_MB

from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.model.shipped import default_model
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.version import __version__

SHAPES = ((45, 630), (133, 512))  # slices, rows and columns
MEMORY_SLICES = (300, 1200)
MEMORY_GOAL, START_GOAL = 2.5, 2.5
FAST_SLICES, FAST_GOAL = 300, 2.2
_FIELD_MM, _HEIGHT_MM = 400.0, 300.0
_RUNS = 5


@dataclass(frozen=True)
class Row:
    """One goal, for one scan where it has one."""

    what: str
    against: str
    measured: str
    goal: str
    met: bool


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scans = options.scans or [write_phantom(folder, slices, side) for slices, side in SHAPES]
        rows, detail = volume_rows(scans, options)
        rows += fast_rows(folder, options)
        if "memory" not in options.skip:
            rows += memory_rows(folder, options)
    rows += start_rows()
    if "install" not in options.skip:
        rows += install_rows()
    report = {"infnet": __version__, "commit": _commit(), "goals": [asdict(row) for row in rows], **detail}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(f"infnet {__version__}, commit {report['commit']}, {detail['system']}")
    print(f"model {detail['model']} on {detail['backend']}, medians of {options.turns} turns\n")
    print("| what | against | measured | goal | |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row.what} | {row.against} | {row.measured} | {row.goal} | {'met' if row.met else 'missed'} |"
        )


def volume_rows(scans: list[Path], options: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """File to mask and JSON."""
    asked = argparse.Namespace(
        scans=scans,
        model=options.model or default_model(int8=True),
        backend=options.backend,
        weights=None,
        turns=options.turns,
        wall=False,
    )
    detail = volume.measure(asked)
    rows = []
    for scan in detail["scans"]:
        name, ratio, outside = scan["scan"], scan["ratio"], scan["outside_network_ms"]
        eager, alone = ratio[volume.TORCH], 1 / ratio[volume.ALONE]
        rows += [
            Row(
                f"{name}: CPU time",
                "PyTorch, eager, every slice",
                f"1/{eager:.1f}",
                f"1/{volume.GOALS[volume.TORCH]:g} with AMX or VNNI",
                eager >= volume.GOALS[volume.TORCH],
            ),
            Row(
                f"{name}: from the command line, load included",
                "PyTorch, eager, every slice, from the command line",
                f"1/{scan['command_ratio']:.1f}",
                f"1/{volume.COMMAND_GOAL:g}",
                scan["command_ratio"] >= volume.COMMAND_GOAL,
            ),
            Row(f"{name}: CPU time", "INT8 network alone, every slice", f"{alone:.2f}", "1.0", alone <= 1),
            Row(
                f"{name}: outside the network",
                "a slice of the scan",
                f"{outside:.1f} ms",
                f"{volume.OUTSIDE_GOAL_MS:g} ms",
                outside <= volume.OUTSIDE_GOAL_MS,
            ),
        ]
    return rows, detail


def fast_rows(folder: Path, options: argparse.Namespace) -> list[Row]:
    """What ``--fast`` saves on planes of 1 mm; what it costs in accuracy is measured by ``fast.py``."""
    path = write_phantom(folder, FAST_SLICES, 512)
    full, fast = (_in_process(name, path, options, 1)["cpu_s"] for name in (volume.INFNET, volume.FAST))
    times = full / fast
    name = f"512 x 512 x {FAST_SLICES}, 1 mm: --fast, CPU time"
    return [Row(name, "every slice", f"1/{times:.1f}", f"1/{FAST_GOAL:g}", times >= FAST_GOAL)]


def memory_rows(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Peak of the whole process from file to mask: of a command that segments one scan."""
    rows = []
    asked = argparse.Namespace(model=options.model or default_model(int8=True), backend=options.backend)
    for slices in MEMORY_SLICES:
        peak = volume.command_peak_mib(write_phantom(folder, slices, 512), asked, threads=2)
        raw = 512 * 512 * slices * 2 / 2**20
        rows.append(
            Row(
                f"512 x 512 x {slices}: peak memory of infnet-infer",
                f"raw voxels, {raw:.0f} MiB",
                f"{peak / raw:.1f}",
                f"{MEMORY_GOAL}",
                peak <= MEMORY_GOAL * raw,
            )
        )
    return rows


def _in_process(name: str, path: Path, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """What a contender of ``volume.py`` measures of itself."""
    model = options.model or default_model(int8=True)
    command = [sys.executable, str(Path(volume.__file__)), str(path), "--model", str(model)]
    command += ["--work", name, "--backend", options.backend, "--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def start_rows() -> list[Row]:
    """What it costs to start."""
    numpy_s = least_cpu_s("-c", "import numpy")
    rows = []
    for name, arguments in (
        ("import infnet_runtime", ("-c", "import infnet_runtime")),
        ("infnet-infer --help", ("-m", "infnet_runtime.cli", "--help")),
    ):
        times = least_cpu_s(*arguments) / numpy_s
        rows.append(Row(name, "import numpy", f"{times:.2f}", f"{START_GOAL}", times <= START_GOAL))
    return rows


def install_rows() -> list[Row]:
    """What has to be downloaded."""
    script = Path(__file__).with_name("install_size.py")
    rows = []
    for extras, limit_mb in LIMITS_MB.items():
        command = [sys.executable, str(script), *extras]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        size = float(done.stdout.splitlines()[-1].split()[0]) if done.stdout else None
        measured = "not measured" if size is None else f"{size:.1f} MB"
        met = size is not None and size <= limit_mb
        what = f"download of infnet[{','.join(extras)}], without infnet itself"
        rows.append(Row(what, "", measured, f"{limit_mb} MB", met))
    return rows


def least_cpu_s(*arguments: str) -> float:
    """Least CPU time of several runs of Python; others on the machine only add to it."""
    seconds = []
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def write_phantom(folder: Path, slices: int, side: int) -> Path:
    """A chest with ground glass, int16, .nii.gz; many slices repeat thirty different ones."""
    different = slices if slices <= 2 * max(n for n, _ in SHAPES) else 30
    pixel_mm = _FIELD_MM / side
    made = chest_phantom(
        (different, side, side),
        (_HEIGHT_MM / different, pixel_mm, pixel_mm),
        noise_hu=20 if different > 30 else 0,
    )
    hu = np.repeat(made.hu, slices // different, axis=0)
    path = folder / f"{side}x{side}x{len(hu)}.nii.gz"
    write_nifti(path, hu.transpose(2, 1, 0), np.diag([-pixel_mm, -pixel_mm, _HEIGHT_MM / len(hu), 1.0]))
    return path


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    return done.stdout.strip() or "not known"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, nargs="*", help="CT volumes, .nii.gz; phantoms where absent")
    parser.add_argument("--model", type=Path, help="the shipped 8-bit one where absent")
    parser.add_argument(
        "--backend", default=volume.DEFAULT_BACKEND, help="of infnet; what auto takes if absent"
    )
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--skip", nargs="+", default=[], choices=["memory", "install"])
    parser.add_argument("--json", type=Path, help="write every number here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
