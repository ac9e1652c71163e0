"""The script that trains on a GPU host, in a tiny form on the CPU and without what such a host lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infnet_train.networks import InfNet
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from infnet_train.weights.trained import read_network
from train_slices import write_slice

ROOT = Path(__file__).parents[2]
ABSENT = ("cc3d", "typer", "onnxruntime", "tensorboard", "rich")
# The script, as if these packages were not installed.
RUN = f"""
import runpy, sys
sys.modules |= dict.fromkeys({ABSENT!r})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RECIPE = """
name = "tiny"
batch_size = 2
sizes = [64]
lr_schedule = "cosine"
[preprocess]
size = 64
channels = "neighbours"
neighbour_step_mm = 5.0
[augment]
mirror = 0.5
noise = 0.02
[[sources]]
name = "small"
folder = "small"
[validation]
name = "small"
folder = "small"
names = ["s0"]
"""


def run(*arguments: object, **options: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks" / "gpu" / "train.py"
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("runtime", "train"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | options,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_weights_go_there_and_come_back_in_small_files(tmp_path: Path) -> None:
    for i in range(4):
        write_slice(tmp_path / "data" / "small", f"s{i}", seed=i)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    pack = "from infnet_train.cli.main import app; app()"
    subprocess.run(
        [sys.executable, "-c", pack, "data", "pack", "data", "-o", "tiny.pack", "--config", "tiny.toml"],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / f) for f in ("runtime", "train"))},
    )
    torch.manual_seed(0)
    network = InfNet()
    start = tmp_path / "start.safetensors"
    tensors = {f"weights/{k}": v for k, v in network.state_dict().items()}
    write_checkpoint(start, Checkpoint(tensors, {"config": {"preprocess": {"size": 64}}}))
    run(start, tmp_path / "start", "--split")
    parts = sorted((tmp_path / "start").iterdir())
    assert len(parts) <= 6
    assert max(p.stat().st_size for p in parts) < 16 * 2**20

    options = ("--config", recipe, "--minutes", 1, "--start", tmp_path / "start", "--device", "cpu")
    done = run(tmp_path / "tiny.pack", tmp_path / "out", *options)
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) <= 8
    assert max(p.stat().st_size for p in files) < 16 * 2**20
    report = json.loads((tmp_path / "out" / "train.json").read_text())
    assert report["took_s"] < 60
    assert report["device"] == "cpu"
    assert json.loads(done.stdout.splitlines()[0]) == report

    run(tmp_path / "out", tmp_path / "home.safetensors", "--join")
    trained = read_network(tmp_path / "home.safetensors", purpose="export")
    assert trained.preprocess.channels == "neighbours"
    assert read_checkpoint(tmp_path / "home.safetensors").state["step"] > 0
    before, after = network.rfb3.branch0[0].conv.weight, trained.network.rfb3.branch0[0].conv.weight
    assert 0 < float((after - before).detach().abs().max()) < 0.1
