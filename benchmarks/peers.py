"""infnet beside lungmask on the same scan: CPU time and memory of the whole command, one thread, in one run.

    python benchmarks/peers.py SCAN.nii.gz [--environment FOLDER] [--model MODEL] [--turns 1] [--json FILE]

lungmask (J. Hofmanninger et al., European Radiology Experimental 2020) finds the lungs with the U-net R231:
half of infnet's job, which finds the lungs and the infection inside. Its weights are random: nothing is
downloaded, and a network takes the same time with any. For the same reason its postprocessing is off, whose
time depends on what was found: with it lungmask takes longer than is measured here. All else is as it comes,
batches of 20 slices among them.

Each contender is a process of its own, from its start to the written mask, in an environment of its own.
FOLDER is a virtual environment with lungmask, made if it is not there; pip then needs PyTorch's CPU build at
hand. CPU time and the peak of resident memory are what the system says of the ended process. infnet runs once
before, so that the model compiled by OpenVINO is kept, as it is for a user from the second scan on.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# As in the project's own lock: any other brings gigabytes for GPUs.
PACKAGES = ("torch==2.13.0", "lungmask==0.2.22")
GOALS = {"cpu_s": 14.0, "peak_mib": 7.0}  # times as much as infnet, at least
BACKENDS = ("onnxruntime", "openvino")
PEER = "lungmask"
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
    "1",
)

# Starts a command and says what it took. A process of its own, and a small one: Linux counts the memory of
# the process that starts another as that of the other, until its program is loaded.
_CLOCK = """
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
print(json.dumps({
    "exit": os.waitstatus_to_exitcode(status),
    "cpu_s": used.ru_utime + used.ru_stime,
    "wall_s": time.perf_counter() - start,
    "peak_mib": used.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024),
}))
"""

_WEIGHTS = """
import sys, torch
from lungmask.resunet import UNet
torch.manual_seed(0)
network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
torch.save(network.state_dict(), sys.argv[1])
"""

_PEER = """
import sys, SimpleITK, torch
from lungmask import LMInferer
torch.set_num_threads(1)
weights, scan, out = sys.argv[1:]
image = SimpleITK.ReadImage(scan)
inferer = LMInferer(modelpath=weights, force_cpu=True, volume_postprocessing=False, tqdm_disable=True)
mask = SimpleITK.GetImageFromArray(inferer.apply(image))
mask.CopyInformation(image)
SimpleITK.WriteImage(mask, out, useCompression=True)
"""

_VERSIONS = """
import json
from importlib.metadata import version
print(json.dumps({name: version(name) for name in ("lungmask", "torch", "SimpleITK", "numpy")}))
"""


def measured(command: Sequence[str | Path]) -> dict[str, float]:
    """CPU seconds, wall seconds and peak of memory in MiB of a command, from its start to its end.

    Raises
    ------
    RuntimeError
        If it fails; with the end of what it printed.
    """
    clock = [sys.executable, "-I", "-S", "-c", _CLOCK, *map(str, command)]
    done = subprocess.run(clock, env={**os.environ, **_ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot start {command[0]}: {done.stderr.strip()[-2000:]}")
    used: dict[str, float] = json.loads(done.stdout)
    if code := used.pop("exit"):
        raise RuntimeError(f"{command[0]} left with {code}: {done.stderr.strip()[-2000:]}")
    return used


def by_turns(
    contenders: dict[str, Callable[[], dict[str, float]]], turns: int
) -> dict[str, list[dict[str, float]]]:
    """What each contender took, one after the other, in each turn."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for turn in range(turns):
        for name, run in contenders.items():
            print(f"turn {turn + 1} of {turns}: {name}", file=sys.stderr)
            taken[name].append(run())
    return taken


def environment(folder: Path) -> Path:
    """The interpreter of an environment with the peer, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All contenders on the scan, by turns."""
    python = environment(options.environment or folder / "environment")
    versions = json.loads(
        subprocess.run([python, "-c", _VERSIONS], check=True, stdout=subprocess.PIPE).stdout
    )
    weights = folder / "random.pth"
    subprocess.run([python, "-c", _WEIGHTS, weights], check=True)

    def infnet(backend: str) -> dict[str, float]:
        command = [sys.executable, "-m", "infnet_runtime.cli", options.scan, "-o", folder / backend]
        command += ["--model", options.model] if options.model else []
        return measured([*command, "--device", "cpu", "--threads", "1", "--backend", backend, "--quiet"])

    def peer() -> dict[str, float]:
        return measured([python, "-c", _PEER, weights, options.scan, folder / "lungs.nii.gz"])

    contenders = {name: lambda name=name: infnet(name) for name in BACKENDS}
    by_turns(contenders, 1)
    taken = by_turns({**contenders, PEER: peer}, options.turns)
    reports = {name: next((folder / name).glob("*.infnet.json")) for name in BACKENDS}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "scan": options.scan.name,
        "goals": GOALS,
        "provenance": {
            name: json.loads(path.read_text("utf-8"))["provenance"] for name, path in reports.items()
        },
        "turns": taken,
        "times_infnet": {name: ratios(taken, name) for name in BACKENDS},
    }


def ratios(taken: dict[str, list[dict[str, float]]], name: str) -> dict[str, float]:
    """What the peer took, in units of what a contender took: medians of the turns."""
    return {
        key: statistics.median(
            peer[key] / own[key] for peer, own in zip(taken[PEER], taken[name], strict=True)
        )
        for key in GOALS
    }


def to_markdown(report: dict[str, Any]) -> str:
    """A row for each contender, and what was compared."""
    versions = report["versions"]
    lines = [
        f"{report['scan']}; {report['system']}, one thread; lungmask {versions['lungmask']} with PyTorch "
        f"{versions['torch']}, random weights, lungs only, without postprocessing",
        "",
        "| contender | CPU s | wall s | peak MiB | lungmask's CPU time | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, turns in report["turns"].items():
        cpu, wall, peak = (
            statistics.median(turn[key] for turn in turns) for key in ("cpu_s", "wall_s", "peak_mib")
        )
        what, times = name, ["", ""]
        if name != PEER:
            own = report["provenance"][name]
            what = f"infnet {own['infnet']}, {own['backend']}, {own['model']}, {own['slices_run']} slices run"
            times = [f"{report['times_infnet'][name][key]:.1f} times that" for key in GOALS]
        lines.append(f"| {what} | {cpu:.1f} | {wall:.1f} | {peak:.0f} | {times[0]} | {times[1]} |")
    goals = report["goals"]
    lines += ["", f"Goals: {goals['cpu_s']:g} times the CPU time, {goals['peak_mib']:g} times the memory."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", type=Path, help="a CT volume, .nii.gz")
    parser.add_argument("--environment", type=Path, help="virtual environment with lungmask; made if absent")
    parser.add_argument("--model", type=Path, help="of infnet; what it takes on this machine if absent")
    parser.add_argument("--turns", type=int, default=1, help="lungmask takes minutes")
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = measure(options, Path(name))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
