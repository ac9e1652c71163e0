"""Train a recipe within a time on a machine with a GPU, and bring the weights home in small files.

NOT YET RUN ON A GPU: a test runs it on the CPU in a tiny form.

    python benchmarks/gpu/train.py data.pack OUT --minutes 8.5 --start START   # on the machine
    python benchmarks/gpu/train.py --join OUT weights.safetensors              # at home

``data.pack`` is what ``infnet-train data pack`` made for the recipe. START is a checkpoint, or a folder of
parts that ``--split WEIGHTS FOLDER`` made of one. OUT gets at most eight files below 16 MiB: the weights in
parts, ``parts.json``, ``curves.csv`` and ``train.json`` with speed, card and versions. Needs PyTorch,
safetensors, OpenCV, nibabel and isal (both from wheels of 4 MB, where there is no network), and this checkout
on PYTHONPATH (runtime, train).
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from infnet_train.machine.device import choose_device
from infnet_train.recipe import find_recipe, read_recipe, run_recipe
from infnet_train.weights.parts import join_weights, split_weights

KEPT_S = 20.0  # for splitting and copying after the training
BETWEEN_SAMPLES_S = 1.0


class GpuLoad:
    """How busy the GPU was, as its driver says, one number a second."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "GpuLoad":
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._stop.wait(BETWEEN_SAMPLES_S):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            first = done.stdout.splitlines()[:1]
            self.samples += [float(line) for line in first if line.strip().isdigit()]

    def mean(self) -> float | None:
        """Share of the time, 0 to 1, without the first tenth; None where the driver says nothing."""
        busy = self.samples[len(self.samples) // 10 :]
        return sum(busy) / len(busy) / 100 if busy else None


def train(options: argparse.Namespace, work: Path) -> None:
    began = time.monotonic()
    device = choose_device(options.device)
    changes = list(options.set)
    if options.start:
        start = options.start
        if start.is_dir():
            start = work / "start.safetensors"
            join_weights(options.start, start)
        changes.append(f'init_from="{start}"')
    stages = read_recipe(find_recipe(options.config), changes)
    run = work / "run"
    left_s = 60 * options.minutes - KEPT_S * min(1.0, options.minutes / 5) - (time.monotonic() - began)
    with GpuLoad() as load:
        weights = run_recipe(
            stages,
            options.data,
            run,
            device=device,
            bf16=device != "cpu",
            augment_on_device=True,
            compiled=options.compile,
            budget_s=left_s,
        )
    files = split_weights(weights, options.out)
    shutil.copy(weights.parent / "curves.csv", options.out / "curves.csv")
    speed = weights.parent / "speed.json"
    values = {
        "schema": "infnet.gpu-training/1",
        "recipe": str(options.config),
        "changes": options.set,
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "minutes": options.minutes,
        "took_s": round(time.monotonic() - began, 1),
        "gpu_busy": load.mean(),
        "speed": json.loads(speed.read_text()) if speed.is_file() else None,
    }
    (options.out / "train.json").write_text(json.dumps(values, indent=2))
    print(json.dumps(values))
    print("\n".join(f"{f.stat().st_size / 2**20:6.2f} MiB  {f.name}" for f in files))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="a pack, or with --join and --split what they read")
    parser.add_argument("out", type=Path, help="folder to bring home, or the file that --join writes")
    parser.add_argument("--join", action="store_true", help="put the parts in DATA together as OUT")
    parser.add_argument("--split", action="store_true", help="write the weights DATA as parts into OUT")
    parser.add_argument("--config", type=Path, default=Path("fine_tune.toml"))
    parser.add_argument("--minutes", type=float, default=8.5, help="from the start of this script to its end")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--set", action="append", default=[], help="change a value of the recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parsed(arguments)
    if options.join:
        join_weights(options.data, options.out)
    elif options.split:
        split_weights(options.data, options.out)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        with tempfile.TemporaryDirectory() as work:
            train(options, Path(work))


if __name__ == "__main__":
    main(sys.argv[1:])
