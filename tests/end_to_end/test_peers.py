"""What ``benchmarks/peers.py`` says of a command: its CPU time and memory, and that of no other."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers.py"

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the system does not tell what a process took"
)


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(text: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text]


WORK = program("import time\nwhile time.process_time() < 0.5: pass")
MEMORY = program("b'1' * 300_000_000")
NOTHING = program("import time; time.sleep(0.3)")


def test_time_and_memory_are_those_of_the_command(peers: ModuleType) -> None:
    held = b"1" * 300_000_000  # of this process, and so of no command
    taken = peers.by_turns(
        {
            name: lambda command=command: peers.measured(command)
            for name, command in {"work": WORK, "memory": MEMORY, "nothing": NOTHING}.items()
        },
        2,
    )
    del held
    assert {name: len(turns) for name, turns in taken.items()} == {"work": 2, "memory": 2, "nothing": 2}
    for work, memory, nothing in zip(*taken.values(), strict=True):
        assert work["cpu_s"] >= 0.5 > nothing["cpu_s"]
        assert nothing["wall_s"] >= 0.3
        assert memory["peak_mib"] > 280 > 100 > nothing["peak_mib"] > 1


def test_memory_of_a_large_command_is_seen_beside_a_small_one(peers: ModuleType) -> None:
    taken = {
        name: [peers.measured(command)] for name, command in {"own": NOTHING, peers.PEER: MEMORY}.items()
    }
    assert peers.ratios(taken, "own")["peak_mib"] > 5
    same = {"own": taken["own"], peers.PEER: taken["own"]}
    assert peers.ratios(same, "own") == {"cpu_s": 1.0, "peak_mib": 1.0}


def test_a_command_that_fails_is_no_result(peers: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="left with 3: no such model"):
        peers.measured(program("import sys; sys.stderr.write('no such model'); sys.exit(3)"))
    with pytest.raises(RuntimeError, match="cannot start /no/such/program"):
        peers.measured(["/no/such/program"])


def test_the_table_names_what_was_compared(peers: ModuleType) -> None:
    own = {"cpu_s": 10.0, "wall_s": 11.0, "peak_mib": 400.0}
    other = {"cpu_s": 200.0, "wall_s": 210.0, "peak_mib": 3600.0}
    turns = {"openvino": [own], peers.PEER: [other]}
    report = {
        "scan": "scan.nii.gz",
        "system": "Linux",
        "versions": {"lungmask": "0.2.22", "torch": "2.13.0"},
        "goals": peers.GOALS,
        "provenance": {"openvino": {"infnet": "1", "backend": "openvino 2", "model": "m", "slices_run": 102}},
        "turns": turns,
        "times_infnet": {"openvino": peers.ratios(turns, "openvino")},
    }
    text = peers.to_markdown(report)
    assert "lungmask 0.2.22 with PyTorch 2.13.0, random weights, lungs only, without postprocessing" in text
    assert (
        "| infnet 1, openvino 2, m, 102 slices run | 10.0 | 11.0 | 400 | 20.0 times that | 9.0 times that |"
        in text
    )
    assert "| lungmask | 200.0 | 210.0 | 3600 |  |  |" in text
