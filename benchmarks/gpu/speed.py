"""How fast is a GPU? The network against PyTorch, a scan from file to mask, and what memory they take.

NOT YET RUN ON A GPU: a test runs it on the CPU in a tiny form.

    python benchmarks/gpu/speed.py [--scan SCAN ...] [--weights W.safetensors]

Each part is a process of its own (``--only`` picks some). ``eager`` and ``compiled`` are PyTorch in half
precision with channels last, ``fp32``, ``fp16``, ``rtx`` and ``trt`` the model file through its backend as
the runtime uses it: batches of ``--batches``, from the memory of the host and back to it, through
page-locked buffers for all. ``path`` takes scans from file to mask (two phantoms without ``--scan``), beside
the time that reading them alone and the network alone take on the same slices; it needs nibabel, isal and
connected-components-3d. Wall time, because the work is on the GPU: the best and the median of the turns.
Without ``--weights`` PyTorch gets random ones, which cost the same. With ``--device cpu`` PyTorch computes in
FP32: a trial of the script, not a measurement.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from forms import FORMS, form
from parts import ROOT, Part, gpu_memory_mib, left_out, run_script

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.model.manifest_file import manifest_of

Run = Callable[[FloatArray], object]

_PACKAGES = {"rtx": "tensorrt_rtx", "trt": "tensorrt"}
LIMITS_S = {"eager": 90, "compiled": 330, "fp32": 90, "fp16": 90, "rtx": 240, "trt": 300, "path": 240}
_PHANTOMS = (((300, 512, 512), (1.25, 0.72, 0.72)), ((45, 630, 630), (7.5, 0.58, 0.58)))  # shape, mm


def pytorch(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The network as trained; ``compiled`` through ``torch.compile``."""
    import torch

    from infnet_train.networks import InfNet
    from infnet_train.weights.trained import read_network

    on_gpu = options.device != "cpu"
    kind = torch.float16 if on_gpu else torch.float32
    network = read_network(options.weights, purpose="time").network if options.weights else InfNet().eval()
    placed = network.to(options.device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(placed, dynamic=False) if name == "compiled" else placed
    inside: dict[str, list[float]] = {}

    def runner(batch: FloatArray) -> Run:
        source = torch.empty(batch.shape, pin_memory=on_gpu)
        n, _, *size = batch.shape
        target = torch.empty((n, 1, *size), pin_memory=on_gpu)
        seconds = inside.setdefault(str(n), [])

        @torch.no_grad()
        def run(given: FloatArray) -> object:
            source.numpy()[:] = given
            slices = source.to(options.device, non_blocking=True)
            slices = slices.to(kind, memory_format=torch.channels_last)
            _wait(torch, on_gpu)
            began = time.perf_counter()
            found = torch.sigmoid(forward(slices).s3.float())
            _wait(torch, on_gpu)
            seconds.append(time.perf_counter() - began)
            target.copy_(found, non_blocking=True)
            _wait(torch, on_gpu)
            return target.numpy().copy()

        return run

    answer = _timed(runner, options)
    answer["network_alone_ms"] = {n: 1e3 * min(s) / int(n) for n, s in inside.items()}
    answer["allocated_mib"] = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    return answer | {"backend": f"torch {torch.__version__}"}


def file(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A form of the model file, as the runtime runs it."""
    package = _PACKAGES.get(name)
    if package and (options.device == "cpu" or not find_spec(package)):
        return {"left_out": f"no GPU, or {package} is not installed"}
    path = form(name, options)
    opened: list[Session] = []

    def runner(batch: FloatArray) -> Run:
        if opened:  # one at a time, for the memory
            opened.pop().close()
        opened.append(open_session(path, device=options.device, batch_size=len(batch)))
        return opened[0].run

    answer = _timed(runner, options)
    return answer | {"backend": opened[0].backend}


def path(options: argparse.Namespace) -> dict[str, Any]:
    """Scans from file to mask."""
    try:
        from infnet_runtime.segment.segmenter import Segmenter
    except ModuleNotFoundError as error:
        return left_out(error)
    scans = options.scan or _phantoms(options)
    rows = {}
    with (
        open_session(form("fp16", options), device=options.device) as session,
        Segmenter(session) as segmenter,
    ):
        for scan in scans:
            rows[scan.name] = _one_scan(scan, segmenter, session, options)
    ratios = {name: row["times_the_larger"] for name, row in rows.items()}
    return {
        "backend": session.backend,
        "scans": rows,
        "gpu_mib": gpu_memory_mib(options.device),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "summary": "times max(inflate, network): "
        + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()),
    }


def _one_scan(scan: Path, segmenter: Any, session: Any, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ANN401
    """The whole way, and its two parts that cannot be left out, by turns."""
    from infnet_runtime.io import open_scan
    from infnet_runtime.segment.region import lungs_of, region
    from infnet_runtime.slices.neighbours import volume_to_network

    volume = open_scan(scan).volume
    spec = session.manifest.preprocess
    looked_at = region(lungs_of(volume, None)[0], volume.grid, spec.crop_margin_mm)
    batches = [
        volume_to_network(
            volume.to_lps(),
            picked,
            (looked_at.rows, looked_at.columns),
            volume.intensity,
            spec,
            spacing_mm=volume.lps_spacing_mm[0],
        )
        for picked in looked_at.batches(session.batch_size)
    ]
    mask = options.work / f"mask{open_scan(scan).mask_suffix}"
    stages: list[dict[str, float]] = []

    def whole() -> None:
        opened = open_scan(scan)
        result = segmenter.predict(opened.volume)
        opened.write_mask(mask, result.mask)
        stages.append(result.provenance.seconds)

    def network() -> None:
        for batch in batches:
            session.run(batch)

    seconds = _turns(
        {"inflate": lambda: open_scan(scan).volume.voxels, "network": network, "file to mask": whole},
        options.turns,
    )
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "shape": volume.voxels.shape,
        "slices": len(looked_at.slices),
        "seconds": seconds,
        "stages": stages[-1],
        "times_the_larger": best["file to mask"] / max(best["inflate"], best["network"]),
    }


def _phantoms(options: argparse.Namespace) -> list[Path]:
    from infnet_runtime.io.nifti import write_nifti
    from infnet_runtime.scan.phantom import chest_phantom, textured

    paths = []
    for shape, spacing_mm in _PHANTOMS[: options.phantoms]:
        small = tuple(max(size // options.shrink, 12) for size in shape)
        wide = tuple(mm * size / s for mm, size, s in zip(spacing_mm, shape, small, strict=True))
        paths.append(options.work / f"phantom-{'x'.join(map(str, small))}.nii.gz")
        if not paths[-1].is_file():
            phantom = textured(chest_phantom(small, wide))  # type: ignore[arg-type]
            write_nifti(paths[-1], phantom.hu, phantom.affine)
    return paths


def _timed(runner: Callable[[FloatArray], Run], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a slice for each size of batch; two runs warm up."""
    spec = manifest_of(options.model).preprocess
    before = gpu_memory_mib(options.device)
    ms: dict[str, dict[str, float]] = {}
    for n in map(int, options.batches.split(",")):
        batch = np.random.default_rng(0).normal(size=(n, *spec.input_shape)).astype(np.float32)
        run = runner(batch)
        run(batch)
        seconds = _turns({"run": lambda run=run, batch=batch: run(batch)}, options.turns)["run"]  # type: ignore[misc]
        ms[str(n)] = {
            "best": 1e3 * min(seconds) / n,
            "median": 1e3 * statistics.median(seconds) / n,
            "worst": 1e3 * max(seconds) / n,
        }
    after = gpu_memory_mib(options.device)
    return {
        "ms_a_slice": ms,
        "gpu_mib": None if before is None or after is None else after - before,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "summary": "ms a slice: " + ", ".join(f"batch {n} {values['best']:.2f}" for n, values in ms.items()),
    }


def _turns(contenders: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of every turn, the contenders one after the other; a first one warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _wait(torch: Any, on_gpu: bool) -> None:  # noqa: ANN401 - a module
    if on_gpu:
        torch.cuda.synchronize()


PARTS: dict[str, Part] = {
    "eager": partial(pytorch, "eager"),
    "compiled": partial(pytorch, "compiled"),
    **{name: partial(file, name) for name in FORMS},
    "path": path,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models/infnet.onnx", help="the plain file")
    parser.add_argument("--weights", type=Path, help="of the network for PyTorch")
    parser.add_argument("--scan", type=Path, action="append", help="for path, as often as needed")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--phantoms", type=int, default=len(_PHANTOMS))
    parser.add_argument("--shrink", type=int, default=1, help="make the phantoms smaller")
    return run_script("speed", PARTS, LIMITS_S, parser, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
