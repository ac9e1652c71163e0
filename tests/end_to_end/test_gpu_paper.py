"""The script that trains and scores the paper's tables on a GPU host, in a tiny form on the CPU."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from paper_sets import write_sets

ROOT = Path(__file__).parents[2]
# The script, as if what such a host lacks were not installed.
RUN = """
import runpy, sys
sys.modules |= dict.fromkeys(("cc3d", "typer", "onnxruntime", "tensorboard", "rich"))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TINY = ("epochs=1", "sizes=[64]", "preprocess.size=64", "batch_size=2")
BYTES, FILES = 16 * 2**20, 8  # what comes back at most


def run(script: str, *arguments: object, code: int = 0) -> str:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("runtime", "train", "benchmarks"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / "benchmarks" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def train_and_score(*arguments: object, code: int = 0) -> str:
    changes = [word for value in TINY for word in ("--set", value)]
    return run("gpu/paper_tables.py", *arguments, *changes, code=code)


@pytest.mark.slow
def test_scores_and_maps_come_home_and_weights_where_asked(tmp_path: Path) -> None:
    sets, out, runs = write_sets(tmp_path / "sets"), tmp_path / "out", tmp_path / "runs"
    given = (sets, out, "--device", "cpu", "--runs", runs, "--networks")
    said = train_and_score(*given, "inf-net", "inf-net-classes", "--weights", "inf-net")
    assert said == "0 not done: none\n"
    files = sorted(out.iterdir())
    assert len(files) <= FILES
    assert max(file.stat().st_size for file in files) < BYTES
    document = json.loads((out / "paper_tables.json").read_text())
    assert set(document["systems"]) == {"inf-net", "inf-net-classes"}
    classes = document["systems"]["inf-net-classes"]["classes"]
    assert classes["ground_glass"]["slices"] == 3
    assert classes["consolidation"]["slices"] == 1, "as the paper, over the slices that have it"
    run("paper_tables.py", "merge", out / "paper_tables.json", "--json", tmp_path / "home.json")
    assert "| inf-net-classes | ground glass |" in (tmp_path / "home.md").read_text()
    assert zipfile.ZipFile(out / "maps.zip").namelist() == ["inf-net-classes.npz", "inf-net.npz"]

    said = train_and_score(*given, "inf-net", "inf-net-backbone", "--minutes", 0, code=1)
    assert said == "2 not done: inf-net, inf-net-backbone\n"
    assert set(json.loads((out / "paper_tables.json").read_text())["systems"]) == set(document["systems"])


@pytest.mark.slow
def test_slices_fill_the_time(tmp_path: Path) -> None:
    sets, out = write_sets(tmp_path / "sets"), tmp_path / "out"
    options = ("--networks", "inf-net-backbone", "--fill", "--minutes", 0.2)
    train_and_score(sets, out, "--device", "cpu", *options)
    how = json.loads((out / "paper_tables.json").read_text())["systems"]["inf-net-backbone"]["how"]
    assert how["by_time"]
    assert how["slices_seen"] >= 2
