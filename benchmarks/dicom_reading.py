"""What reading and decoding a DICOM series costs, as a share of the run that follows, and its peak memory.

    python benchmarks/dicom_reading.py [--slices 300] [--side 512] [--repeats 3] [--no-run] [--json FILE]

A phantom is written as NIfTI (.nii.gz) and as DICOM in several forms. CPU seconds of reading each, the least
of the repeats, divided by those of the run on the same volume without its reading; the peak memory of a
process that does nothing but read. More than ``LIMIT`` of a run, or more memory than ``MEMORY`` times that
of NIfTI, ends with exit code 1. Memory is measured on Linux.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

import infnet_runtime
from infnet_runtime.cpu import limit_process
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.scan.phantom import chest_phantom

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import dicom_world as world

LIMIT = 0.15
MEMORY = 1.1
SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "deflate": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
}
CODED = ("rle", "jpeg-ls")


def main() -> None:
    options = _options()
    if options.read:
        open_scan(options.read)
        print(_peak_kb())
        return
    limit_process(1)
    with tempfile.TemporaryDirectory() as folder:
        scans = _written(Path(folder), options.slices, options.side)
        seconds = {name: _least(scan, options.repeats) for name, scan in scans.items()}
        peaks = {name: _peak_mb(scan) for name, scan in scans.items()}
        run_s = None if options.no_run else _run_s(scans["nii.gz"])
    for name, read_s in seconds.items():
        share = "" if run_s is None else f"{100 * read_s / run_s:6.1f} % of the run"
        print(f"{name:22} {read_s:6.2f} CPU s {share}  peak {peaks[name]:5.0f} MB")
    if options.json:
        document = {
            "infnet": infnet_runtime.__version__,
            "slices": options.slices,
            "side": options.side,
            "run_cpu_s": run_s,
            "read_cpu_s": {name: round(value, 3) for name, value in seconds.items()},
            "shares": {name: round(value / run_s, 4) for name, value in seconds.items()} if run_s else None,
            "peak_mb": peaks,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    slow = run_s is not None and seconds["dicom uncompressed"] > LIMIT * run_s
    large = max(peaks.values()) > MEMORY * peaks["nii.gz"]
    if slow or large:
        raise SystemExit(1)


def _written(folder: Path, slices: int, side: int) -> dict[str, Path]:
    phantom = chest_phantom((slices, side, side), (300 / slices, 360 / side, 360 / side))
    phantom.hu.clip(-1024, out=phantom.hu)
    scans = {"nii.gz": folder / "ct.nii.gz"}
    write_nifti(scans["nii.gz"], phantom.hu.transpose(2, 1, 0), world.affine(phantom))
    single = world.slices(phantom, signed=False)
    for name, syntax in SYNTAXES.items():
        place = scans[f"dicom {name}"] = folder / name
        if name in CODED:
            for one in single:
                one.PixelRepresentation = 0
        world.write(place, single, syntax=syntax)
    scans["dicom enhanced"] = folder / "enhanced"
    world.write(scans["dicom enhanced"], [world.enhanced(single)])
    return scans


def _least(scan: Path, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        open_scan(scan)
        taken.append(time.process_time() - start)
    return min(taken)


def _peak_kb() -> int:
    """Of this program; what getrusage tells includes the process that it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def _peak_mb(scan: Path) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--read", scan], check=True, capture_output=True, text=True
    )
    return float(done.stdout) / 1024


def _run_s(scan: Path) -> float:
    volume = open_scan(scan).volume
    with infnet_runtime.load(threads=1) as model:
        start = time.process_time()
        model.predict(volume)
        return time.process_time() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
