"""The network alone in large batches: a model file against PyTorch, contenders in turn in one run.

    python benchmarks/gpu_network.py MODEL.onnx|ENGINE.plan [--weights W.safetensors] [--device cuda]
        [--batch 32] [--turns 5] [--json FILE]

Contenders: PyTorch eager in half precision with channels last, the same through ``torch.compile``, and the
file through its backend, as the runtime uses it (copies included for all three). Wall time, because the work
is on the GPU; the best of the turns and the range. With ``--device cpu`` PyTorch computes in FP32: a trial of
the script, not a measurement. Without ``--weights`` PyTorch gets random ones, which cost the same.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNet
from infnet_train.weights.trained import read_network

Run = Callable[[FloatArray], FloatArray]
EAGER, COMPILED, FILE = "PyTorch eager", "PyTorch compiled", "this file"
GOALS = {EAGER: 2.0, COMPILED: 1.2}  # times the time of the file, at least


def main() -> None:
    options = _options()
    network = read_network(options.weights, purpose="time").network if options.weights else InfNet().eval()
    backend = "tensorrt" if options.model.suffix == ".plan" else "onnxruntime"
    with open_session(
        options.model, device=options.device, backend=backend, batch_size=options.batch
    ) as session:
        few = phantom_input(session.manifest.preprocess)
        batch = np.ascontiguousarray(np.resize(few, (options.batch, *few.shape[1:])))
        contenders: dict[str, Run] = {
            EAGER: torch_run(network, options.device, compiled=False),
            COMPILED: torch_run(network, options.device, compiled=True),
            FILE: session.run,
        }
        seconds = in_turn(contenders, batch, options.turns)
        report = {
            "model": options.model.name,
            "sha256": session.model_sha256,
            "backend": session.backend,
            "device": session.device,
            "torch": str(torch.__version__),
            "gpu": torch.cuda.get_device_name() if options.device.startswith("cuda") else "none",
            "batch": options.batch,
            "seconds": seconds,
            "ratio": {name: min(seconds[name]) / min(seconds[FILE]) for name in GOALS},
        }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(to_markdown(report, seconds))


def torch_run(network: InfNet, device: str, *, compiled: bool) -> Run:
    """(n, 3, size, size) -> (n, 1, size, size), from and to the memory of the host."""
    kind = torch.float16 if device.startswith("cuda") else torch.float32
    placed = network.to(device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(placed) if compiled else placed

    @torch.no_grad()
    def run(batch: FloatArray) -> FloatArray:
        slices = torch.from_numpy(batch).to(device, kind, memory_format=torch.channels_last)
        return np.asarray(torch.sigmoid(forward(slices).s3.float()).cpu().numpy())

    return run


def in_turn(contenders: dict[str, Run], batch: FloatArray, turns: int) -> dict[str, list[float]]:
    """Seconds of every turn; a first one warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run(batch)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def to_markdown(report: dict[str, object], seconds: dict[str, list[float]]) -> str:
    n, best = int(str(report["batch"])), min(seconds[FILE])
    lines = [
        f"{report['model']}, {report['backend']} on {report['device']} ({report['gpu']}), "
        f"torch {report['torch']}, batch {n}",
        "",
        "| contender | ms a slice, best | worst | times the file | goal |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, values in seconds.items():
        goal = f">= {GOALS[name]:g}" if name in GOALS else ""
        low, high = min(values) / n * 1e3, max(values) / n * 1e3
        lines.append(f"| {name} | {low:.2f} | {high:.2f} | {min(values) / best:.2f} | {goal} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
