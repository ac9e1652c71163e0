"""The short form of ``benchmarks/soak.py``: many volumes, models loaded and freed, nothing left behind."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tiny_models import mid_grey_detector

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="what a process holds is read in /proc"
)
# What the second 200 volumes may add: the first fill the allocator's pools, for each thread and each model
# beside. Measured -13 to 7.
MOST_MIB = 40


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_nothing_is_left_of_many_volumes_and_models(backend: str, tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx", gain=20.0)
    arguments = ["--short", "--backend", backend, "--model", model, "--json", tmp_path / "soak.json"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "soak.json").read_text("utf-8"))
    assert found["differing"] == 0
    assert found["left"] == {"threads": 0, "descriptors": 0}
    held = {one["volumes"]: one["rss_kib"] / 1024 for one in found["readings"]}
    assert held[400] - held[200] < MOST_MIB
    assert found["models_loaded_and_freed"] == 42
    assert "400 volumes from 4 threads" in done.stdout


@pytest.mark.parametrize(("step_kib", "told"), [(0.0, False), (-30.0, False), (200.0, True)])
def test_growth_is_told_from_unrest(step_kib: float, told: bool, script: ModuleType) -> None:
    unrest = [900 * (k * 7 % 5) for k in range(26)]  # of an allocator
    kib = [int(300_000 + step_kib * 20 * k + more) for k, more in enumerate(unrest)]
    line = script.fitted([script.Reading(20 * k, rss, 8, 9) for k, rss in enumerate(kib)])
    assert line.low <= step_kib <= line.high
    assert (line.low > script.MOST_KIB) == told


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"rss_kib": lambda k: 300_000 + 4000 * k}, "memory grows by 200.0 KiB a volume"),
        ({"threads": lambda k: 8 + k}, "threads left: 18"),
        ({"descriptors": lambda k: 9 + k // 5}, "descriptors left: 4"),
    ],
)
def test_what_is_left_is_a_fault(changed: dict[str, object], fault: str | None, script: ModuleType) -> None:
    held = {"rss_kib": lambda k: 300_000 + k % 3, "threads": lambda _: 8, "descriptors": lambda _: 9}
    numbers = [{"volumes": 20 * k} | {n: f(k) for n, f in (held | changed).items()} for k in range(26)]

    class Host:
        differing = 0

    assert script.judged({"readings": numbers}, Host())["faults"] == ([] if fault is None else [fault])
    Host.differing = 2
    assert "results that differ: 2" in script.judged({"readings": numbers}, Host())["faults"]
