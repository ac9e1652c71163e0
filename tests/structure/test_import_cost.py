"""Starting costs little: in CPU time, measured against the import of numpy on the same machine."""

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

LIMIT = 2.5
"""Most CPU time, as a multiple of that of ``import numpy``. Measured: 0.2 for the package, 1.1 to 1.8 for the
help; the most where pydantic is installed, which typer then imports."""
_RUNS = 5


def cpu_s(*arguments: str) -> float:
    """Least CPU time of several runs; others on the machine only ever add to it."""
    times = []
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.fixture(scope="module")
def numpy_s() -> float:
    return cpu_s("-c", "import numpy")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import infnet_runtime"),
        ("-m", "infnet_runtime.cli", "--help"),
        ("-m", "infnet_runtime.cli", "doctor", "--help"),
    ],
    ids=["import", "help", "doctor --help"],
)
def test_starting_costs_little(arguments: tuple[str, ...], numpy_s: float) -> None:
    assert cpu_s(*arguments) <= LIMIT * numpy_s


def test_the_measure_can_fail(numpy_s: float) -> None:
    assert cpu_s("-c", "for i in range(20_000_000): pass") > LIMIT * numpy_s
