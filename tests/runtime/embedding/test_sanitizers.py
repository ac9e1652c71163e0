"""The host's C++ under AddressSanitizer and ThreadSanitizer, with a stand-in network by ONNX Runtime.

What is seen: all C++ of the host and of infnet.hpp; every allocation of the process, so that a double or
wrong ``free`` anywhere ends it; copies by the C library (``memcpy``) that Python's extensions make to and
from the host's memory; locks of pthreads, the GIL among them.

What is not seen: single reads and writes within Python, NumPy, OpenCV and ONNX Runtime, which are compiled
without a sanitizer; leaks, because Python keeps what it needs to the end (``detect_leaks=0``; growth is
measured by ``benchmarks/soak.py``); OpenVINO, whose TBB opens a library in a way that sanitizers refuse
(``RTLD_DEEPBIND``).
"""

import os
import subprocess
from pathlib import Path

import pytest

from embedded import Build, Given

pytestmark = pytest.mark.slow

SUPPRESSIONS = Path(__file__).with_name("tsan.supp")
ENVIRONMENT = {
    "address": {"ASAN_OPTIONS": "detect_leaks=0"},
    "thread": {"TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}"},
}
FAULTS = {"address": ("reads_freed_memory", "heap-use-after-free"), "thread": ("races", "data race")}
# Those that end Python while others hold it.
LIVES = {"address": ("outlive", "join"), "thread": ("end_while_busy", "several")}


def run(program: Path, sanitizer: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words],
        capture_output=True, text=True, env=os.environ | ENVIRONMENT[sanitizer], check=False,
    )  # fmt: skip


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_nothing_is_found(sanitizer: str, build_host: Build, given: Given, tmp_path: Path) -> None:
    program = build_host(f"-DSANITIZER={sanitizer}")
    case, words = FAULTS[sanitizer]
    twin = run(program, sanitizer, "--life", case, given.model, given.volume)
    assert twin.returncode != 0
    assert words in twin.stderr

    done = run(program, sanitizer, given.model, given.volume, tmp_path, "onnxruntime")
    assert (done.stderr, done.returncode) == ("", 0)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    for case in LIVES[sanitizer]:
        done = run(program, sanitizer, "--life", case, given.model, given.volume, "onnxruntime")
        assert (done.stdout, done.stderr, done.returncode) == (f"ok {case}\n", "", 0)
