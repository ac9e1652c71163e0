"""Is what a GPU gives right? The tests of ``tests/gpu``, then every backend against ONNX Runtime on the CPU.

NOT YET RUN ON A GPU: a test runs it on the CPU in a tiny form.

    python benchmarks/gpu/check.py --pack slices.npz SCAN ...     # at home: up to eight slices of each scan
    python benchmarks/gpu/check.py --slices slices.npz [--scans SCANS]  # on the machine

Each part is a process of its own (``--only`` picks some): ``tests``; ``fp32``, ``fp16``, ``rtx`` and ``trt``
compare probabilities and masks on the packed slices in full and ragged batches; ``verify-fp32`` and
``verify-fp16`` take scans the whole way, to millilitres (``infnet-infer verify``; a phantom without
``--scans``), and need nibabel, isal and connected-components-3d. The file in FP16 and the engines are made
where the script runs. ``benchmarks/gpu/README.md`` has the sequence of calls for one visit.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from forms import FORMS, form
from packed import pack, unpack
from parts import ROOT, Part, left_out, run_script

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import run_checked
from infnet_runtime.metrics.mask_limits import LIMITS, PIXELS, faults_of_pictures, mask_pair
from infnet_runtime.metrics.parity import FP32_TOLERANCE, compare, network_thresholds
from infnet_runtime.model.manifest_file import manifest_of

_BATCH = 8
_RAGGED = (1, 3, 8, 5)  # sizes of calls, in turn
_PACKAGES = {"rtx": "tensorrt_rtx", "trt": "tensorrt"}
LIMITS_S = {
    "tests": 240,
    "fp32": 90,
    "fp16": 90,
    "rtx": 240,
    "trt": 300,
    "verify-fp32": 180,
    "verify-fp16": 180,
}


def tests(options: argparse.Namespace) -> dict[str, Any]:
    """What is marked ``gpu``."""
    folder = ROOT / "tests" / "gpu"
    if options.device == "cpu" or not folder.is_dir():
        return {"left_out": "no GPU, or no tests/gpu"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode or not counts.get("passed"):
        raise SystemExit(f"pytest left with {done.returncode}: {counts}, {failed[:20]}")
    return {**counts, "summary": f"{counts['passed']} passed, {counts.get('skipped', 0)} skipped"}


def on_slices(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A form on the packed slices against the plain file on the CPU."""
    package = _PACKAGES.get(name)
    if package and (options.device == "cpu" or not find_spec(package)):
        return {"left_out": f"no GPU, or {package} is not installed"}
    with open_session(options.model, backend="onnxruntime", device="cpu", batch_size=_BATCH) as reference:
        batch, names = unpack(options.slices, reference.manifest.preprocess)
        expected = _in_calls(reference, batch, (_BATCH,))
    path = form(name, options)
    precision = "f32" if name == "fp32" else "auto"
    with open_session(path, device=options.device, batch_size=_BATCH, precision=precision) as session:
        manifest, backend = session.manifest, session.backend
        found, ragged = (_in_calls(session, batch, sizes) for sizes in ((_BATCH,), _RAGGED))
        again = _in_calls(session, batch, (_BATCH,))
    threshold = network_thresholds(manifest)[manifest.output.name]
    parity = compare(found, expected, threshold)
    channel, at = manifest.output.infection_channel, threshold[0]
    masks = mask_pair("slices", expected[:, channel] >= at, found[:, channel] >= at, None)
    faults = faults_of_pictures(*masks.sizes, len(batch), LIMITS)
    if masks.agreement < LIMITS.agreement and masks.differing > LIMITS.few(PIXELS) * len(batch):
        faults.append(f"the masks agree by a Dice of {masks.agreement:.4f}")
    if name == "fp32":
        faults += [f"it differs in {fault}" for fault in FP32_TOLERANCE.faults(parity)]
    if not np.array_equal(found, again):
        faults.append("the same batch gave other bytes the second time")
    apart = float(np.abs(ragged.astype(np.float64) - found).max())
    if apart > FP32_TOLERANCE.largest and name == "fp32":
        faults.append(f"calls of other lengths are off by {apart:.1e}")
    print(faults)
    if faults:
        raise SystemExit(f"{backend}: {'; '.join(faults)}")
    return {
        "backend": backend,
        "parity": asdict(parity),
        "farthest": names[parity.farthest_slice],
        "masks": {"dice": masks.agreement, "sizes": masks.sizes, "differing": masks.differing},
        "ragged_apart": apart,
        "summary": f"largest {parity.largest_distance:.1e}, mean {parity.mean_distance:.1e}, "
        f"{parity.differing_pixels} px on the other side, Dice {masks.agreement:.5f}, {backend}",
    }


def whole_scans(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """``infnet-infer verify``: scans from voxels to millilitres."""
    try:
        from infnet_runtime.machine.verify import verify
    except ModuleNotFoundError as error:
        return left_out(error)
    import json

    where = {"device": options.device, "precision": "f32" if name == "fp32" else "auto"}
    if options.device == "cpu":
        if not find_spec("openvino"):
            return {"left_out": "on the CPU only with OpenVINO"}
        where["backend"] = "openvino"
    report = verify(form(name, options), options.model, options.scans or (), **where)
    print(report.to_text())
    report.check()
    document = json.loads(report.to_json())
    worst = min(scan.masks.agreement for scan in report.scans)
    return document | {"summary": f"{len(report.scans)} scans, smallest Dice of masks {worst:.5f}"}


def _in_calls(session: Session, batch: FloatArray, sizes: tuple[int, ...]) -> FloatArray:
    name = session.manifest.output.name
    return np.concatenate([run_checked(session, batch[part])[name] for part in _cut(len(batch), sizes)])


def _cut(count: int, sizes: tuple[int, ...]) -> Iterator[slice]:
    start = turn = 0
    while start < count:
        stop = min(start + sizes[turn % len(sizes)], count)
        yield slice(start, stop)
        start, turn = stop, turn + 1


PARTS: dict[str, Part] = {
    "tests": tests,
    **{name: partial(on_slices, name) for name in FORMS},
    "verify-fp32": partial(whole_scans, "fp32"),
    "verify-fp16": partial(whole_scans, "fp16"),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models/infnet.onnx", help="the plain file")
    parser.add_argument("--slices", type=Path, help="what --pack made; made-up pictures if not given")
    parser.add_argument("--scans", type=Path, action="append", help="scan or folder, for the last two parts")
    if "--pack" in arguments:
        parser.add_argument(
            "--pack", type=Path, metavar="FILE", help="write slices of SCANs into FILE and end"
        )
        parser.add_argument("inputs", type=Path, nargs="+")
        options = parser.parse_args(arguments)
        count = pack(options.pack, options.inputs, manifest_of(options.model).preprocess)
        print(f"{options.pack}: {count} slices, {options.pack.stat().st_size / 2**20:.1f} MiB")
        return 0
    return run_script("check", PARTS, LIMITS_S, parser, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
