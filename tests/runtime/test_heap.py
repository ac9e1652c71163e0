"""What glibc keeps of memory that is free goes back to the system when a model is loaded or closed."""

import subprocess
import sys
from pathlib import Path

import pytest

from infnet_runtime.heap import give_back
from tiny_models import mid_grey_detector

# 64 MiB in blocks that glibc takes from the heap; one is kept on top, or the heap would shrink by itself.
PROGRAM = """
import sys
from pathlib import Path
from infnet_runtime import load
from infnet_runtime.heap import give_back

def mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256

def left_behind():
    blocks = [b"1" * 60_000 for _ in range(1100)]
    return blocks[-1]

model = load(sys.argv[1], backend=sys.argv[2], device="cpu", threads=1, cache=False)
before = mib()
kept = left_behind()
full = mib()
model.close()
print(full - before, mib() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps so much")
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_closing_a_model_gives_free_memory_back(backend: str, tmp_path: Path) -> None:
    model = mid_grey_detector(tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), backend], capture_output=True, text=True, check=True
    )
    full, left = map(int, done.stdout.split())
    assert full > 40, "the C library kept it"
    assert left < 10


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    give_back()
