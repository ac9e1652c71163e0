"""Reading cases in child processes that have a limit of memory and of time, and judging what came of it.

A case may be read or refused by an ``InfnetError`` that is about the input. All else is a finding: another
exception, a warning, a byte on stdout or stderr, more memory than a multiple of the file allows, or the end
of the process: where a child ends, the next one goes on behind that case.
"""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzzing.kinds import Kind
from infnet_runtime.errors import InfnetError

MOST_CPU_S, MOST_WALL_S = 5, 60
_INPUT = 3  # exit code of errors about the input
_MIB = 1 << 20
# What a case may take in memory, resident: what any takes, and a multiple of the bytes of its files. Deflate
# unpacks to 1032 times as much, and a picture with an EXIF tag is there three times.
FREE_BYTES, MOST_TIMES = 64 * _MIB, 4 * 1032
# Address space above what is mapped at the start, so that a wrong claim ends in MemoryError.
_ADDRESSES = 1024 * _MIB


@dataclass
class Finding:
    """A case that ended in another way than it may."""

    kind: str
    seed: int
    case: int
    what: str
    detail: str


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    most_growth_bytes: int = 0
    most_cpu_s: float = 0.0


def run_kind(kind: Kind, *, seed: int, numbers: Sequence[int], tally: Tally) -> None:
    """Read cases of a kind, in as many child processes as it takes.

    Parameters
    ----------
    numbers
        Of the cases.
    tally
        What came of them is added to it.
    """
    at = 0
    folder = Path(tempfile.mkdtemp(prefix="infnet-fuzz-", dir=_memory_disk()))
    try:
        while at < len(numbers):
            at += _one_child(kind, seed, numbers[at:], folder, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one_child(kind: Kind, seed: int, numbers: Sequence[int], folder: Path, tally: Tally) -> int:
    """Fork a child for the cases; how many of them are done with."""
    told = folder / "told.jsonl"
    told.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _in_child(kind, seed, numbers, folder, told)
            status = 0
        except BaseException:
            told.with_suffix(".fault").write_text(traceback.format_exc(), "utf-8")
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    fault = told.with_suffix(".fault")
    if fault.exists():
        raise RuntimeError(fault.read_text("utf-8"))
    done = _count(told, tally)
    if done < len(numbers):
        number = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-number).name if number < 0 else f"exit code {number}"
        tally.cases += 1
        tally.findings.append(Finding(kind.name, seed, numbers[done], "ended the process", how))
        done += 1
    return done


def _in_child(kind: Kind, seed: int, numbers: Sequence[int], folder: Path, told: Path) -> None:
    printed = folder / "printed"
    with told.open("w", encoding="utf-8", buffering=1) as file, printed.open("wb", buffering=0) as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        warnings.simplefilter("always")
        for package in kind.may_warn:
            warnings.filterwarnings("ignore", module=package)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = _status("VmSize") + _ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in numbers:
            place = folder / "case"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            path = kind.case(seed, number, place)
            outcome = _judged(kind, path, folder / "printed")
            file.write(json.dumps(outcome | {"case": number, "seed": seed, "kind": kind.name}) + "\n")


def _judged(kind: Kind, path: Path, printed: Path) -> dict[str, object]:
    """Read one case and say what came of it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, output_before = _status("VmRSS"), printed.stat().st_size
    cpu_before = sum(os.times()[:2])
    what, detail = "read", ""
    with _limited_time():
        try:
            kind.read(path)
        except InfnetError as error:
            what, detail = f"INF-{error.code}", str(error)
            if error.code // 1000 != _INPUT:
                what = f"refused as {what}"
        except Exception as error:  # what is looked for
            what, detail = f"raised {type(error).__name__}", traceback.format_exc()
    growth, size = _status("VmHWM") - before, _bytes_of(path)
    if growth > FREE_BYTES + MOST_TIMES * size:
        what, detail = "took memory", f"{growth} bytes for a file of {size}, then: {what} {detail}"
    sys.stdout.flush()
    sys.stderr.flush()
    is_refused = what.startswith("INF-")
    if printed.stat().st_size > output_before and not (kind.may_print and is_refused):
        text = printed.read_bytes()[output_before:].decode(errors="replace")
        what, detail = "printed", f"then: {what} {detail}\n{text}"
    return {"what": what, "detail": detail, "growth": growth, "cpu_s": sum(os.times()[:2]) - cpu_before}


@contextmanager
def _limited_time() -> Iterator[None]:
    """End the process, by a signal that nothing can hold up, if it takes too long."""
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
    signal.setitimer(signal.ITIMER_REAL, MOST_WALL_S)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _count(told: Path, tally: Tally) -> int:
    """Add what a child told; how many cases it came through."""
    lines = told.read_text("utf-8").splitlines()
    for line in map(json.loads, lines):
        tally.cases += 1
        tally.most_growth_bytes = max(tally.most_growth_bytes, line["growth"])
        tally.most_cpu_s = max(tally.most_cpu_s, line["cpu_s"])
        if line["what"] == "read":
            tally.read += 1
        elif line["what"].startswith("INF-"):
            tally.refused[line["what"]] += 1
        else:
            tally.findings.append(
                Finding(line["kind"], line["seed"], line["case"], line["what"], line["detail"])
            )
    return len(lines)


def _status(name: str) -> int:
    """A line of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def _bytes_of(path: Path) -> int:
    files = [path] if path.is_file() else [place for place in path.rglob("*") if place.is_file()]
    return sum(file.stat().st_size for file in files)


def _memory_disk() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def as_json(tally: Tally) -> dict[str, object]:
    """A tally for the result's file, the codes in order."""
    return asdict(tally) | {"refused": dict(sorted(tally.refused.items()))}
