"""The short form of ``benchmarks/fuzz.py``: spoilt files are read or refused by name; a fault is found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource")
pytest.importorskip("pydicom")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CASES = 2000
# What each kind has to come to, so that a run that reads nothing is not taken for a good one.
REACHED = {
    "nifti-header": {3007, 3010, 3012, 3013, 3014, 3015, 3017, 3018, 3019, 3020, 3021, 3031},
    "nifti-labels": {3007, 3010, 3012, 3063},
    "gzip": {3006, 3007, 3008, 3010},
    "png": {3043, 3050, 3051, 3052, 3053, 3054},
    "dicom-header": {3251, 3253, 3256, 3257, 3263, 3264, 3265, 3270},
    "dicom-file": {3253, 3255, 3266, 3268},
    "dicom-zip": {3251, 3255},
}


@pytest.mark.slow
def test_spoilt_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fuzz.py"), f"--cases={CASES}", f"--json={tmp_path / 'run.json'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert sum(tally["cases"] for tally in told["kinds"].values()) >= CASES
    for name, codes in REACHED.items():
        tally = told["kinds"][name]
        assert tally["read"] > 0
        assert codes <= {int(code.removeprefix("INF-")) for code in tally["refused"]}
        assert tally["cases"] == tally["read"] + sum(tally["refused"].values())


PLANTED = """
import json, os, sys, warnings
from fuzzing.kinds import Kind, write
from fuzzing.run import Tally, as_json, run_kind
from infnet_runtime.errors import InputError, ModelError

def make(rng, folder):
    return write(folder, "case", rng.randbytes(8))

def grow(path):
    bytearray(b"1" * (100 << 20))

def wait(path):
    while True:
        pass

def refuse(error):
    raise error

FAULTS = {
    "exception": lambda path: refuse(ValueError("of no type of ours")),
    "warning": lambda path: warnings.warn("careful"),
    "print": lambda path: os.write(2, b"libpng warning"),
    "memory": grow,
    "claim": lambda path: bytearray(1 << 40),
    "end": lambda path: os.abort(),
    "time": wait,
    "model": lambda path: refuse(ModelError("no file of a scan", code=4001)),
    "refused": lambda path: refuse(InputError("as it should be", code=3005)),
    "read": lambda path: None,
}
told = {}
for name, read in FAULTS.items():
    tally = Tally()
    run_kind(Kind(name, 1, make, read), seed=0, numbers=range(2), tally=tally)
    told[name] = as_json(tally)
print(json.dumps(told))
"""


@pytest.mark.slow
def test_every_kind_of_fault_is_found() -> None:
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import fuzzing.run; "
    code += "fuzzing.run.MOST_CPU_S = 0.2\n" + PLANTED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told: dict[str, dict[str, Any]] = json.loads(done.stdout)
    found = {name: [finding["what"] for finding in tally["findings"]] for name, tally in told.items()}
    assert found == {
        "exception": ["raised ValueError"] * 2,
        "warning": ["printed"] * 2,
        "print": ["printed"] * 2,
        "memory": ["took memory"] * 2,
        "claim": ["raised MemoryError"] * 2,
        "end": ["ended the process"] * 2,
        "time": ["ended the process"] * 2,
        "model": ["refused as INF-4001"] * 2,
        "refused": [],
        "read": [],
    }
    assert {tally["cases"] for tally in told.values()} == {2}
    assert told["time"]["findings"][0]["detail"] == "SIGPROF"
    assert told["refused"]["refused"] == {"INF-3005": 2}
    assert told["read"]["read"] == 2


def test_the_page_shows_the_recorded_run() -> None:
    recorded = BENCHMARKS / "results" / "fuzz.json"
    told = json.loads(recorded.read_text("utf-8"))
    assert sum(tally["cases"] for tally in told["kinds"].values()) >= 100_000
    assert not any(tally["findings"] for tally in told["kinds"].values())
    shown = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fuzz.py"), f"--show={recorded}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = (BENCHMARKS.parent / "docs" / "fuzzing.md").read_text("utf-8")
    assert shown in page
    assert f"Seed {told['seed']}," in page


LISTED = """
import sys, pathlib
sys.path.insert(0, {folder!r})
import fuzz
place = pathlib.Path({place!r})
for kind in fuzz.KINDS.values():
    for number in range(5):
        first, second = (place / f"{{kind.name}}-{{number}}-{{again}}" for again in range(2))
        for folder in (first, second):
            folder.mkdir()
            kind.case(3, number, folder)
        files = [path for path in first.rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path
"""


def test_a_case_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    code = LISTED.format(folder=str(BENCHMARKS), place=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True)
