"""Memory over a large scan, from file to mask, measured on a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime.io.nifti import write_nifti
from tiny_models import mid_grey_detector

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the peak"),
]

# Peak of the process over the raw voxels, above what interpreter, libraries and a warm model take: the scan
# is 1, of lung labels and mask only what is not zero takes memory. Measured 1.48 and 1.36.
MOST_TIMES_RAW = 1.8
# What each further byte of the scan adds; measured 1.32.
MOST_GROWTH = 1.5
# Interpreter, NumPy, OpenCV, ONNX Runtime and a tiny model, warm; measured 130.
MOST_BASE_MIB = 300

PROGRAM = """
import json, resource, sys
from pathlib import Path
from infnet_runtime.io import open_scan
from infnet_runtime.report.text_and_json import to_json
from infnet_runtime.segment.segmenter import load

def peak():
    try:  # getrusage of Linux also counts the process that started this one, before its program was loaded
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def run(path):
    scan = open_scan(path)
    result = segmenter.predict(scan.volume)
    scan.write_mask(path.with_name("mask.nii.gz"), result.mask)
    to_json(result, outputs={})
    return scan.volume.voxels.nbytes, result.provenance.slices_run

model, small, large = map(Path, sys.argv[1:])
with load(model, device="cpu", threads=2) as segmenter:
    run(small)
    base = peak()
    raw, slices = run(large)
    print(json.dumps({"base": base, "peak": peak(), "raw": raw, "slices": slices}))
"""


def write_scan(path: Path, slices: int) -> Path:
    """A chest of 300 mm in slices of 512 x 512, each of its 30 different slices repeated."""
    phantom = chest_phantom((30, 512, 512), (10.0, 0.7, 0.7), noise_hu=0)
    hu = np.repeat(phantom.hu, slices // 30, axis=0)
    write_nifti(path, hu.transpose(2, 1, 0), np.diag([-0.7, -0.7, 300 / slices, 1.0]))
    return path


def measured(folder: Path, slices: int) -> dict[str, int]:
    model = mid_grey_detector(folder / "model.onnx")
    scans = write_scan(folder / "small.nii.gz", 30), write_scan(folder / "large.nii.gz", slices)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), *map(str, scans)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_peak_is_bounded_by_the_raw_size_and_grows_with_it(tmp_path: Path) -> None:
    runs = []
    for slices in (300, 1200):
        folder = tmp_path / str(slices)
        folder.mkdir()
        found = measured(folder, slices)
        assert found["raw"] == 512 * 512 * slices * 2
        assert found["slices"] > slices / 2
        assert found["base"] < MOST_BASE_MIB * 2**20
        assert (found["peak"] - found["base"]) / found["raw"] < MOST_TIMES_RAW
        runs.append(found)
    small, large = runs
    assert (large["peak"] - small["peak"]) / (large["raw"] - small["raw"]) < MOST_GROWTH
