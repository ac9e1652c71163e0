"""Read spoilt files by the hundred thousand: each is read, or refused by name, in bounded memory.

    python benchmarks/fuzz.py [--cases 100000] [--seed 0] [--kind KIND ...] [--json FILE]
    python benchmarks/fuzz.py --kind KIND --look 1234 --keep FOLDER
    python benchmarks/fuzz.py --show FILE

The cases are shared among the kinds, or among those that are named. Every one is read in a child process with
a limit of address space and of time; an exception that is no ``InfnetError`` about the input, a warning,
anything printed, memory that the file does not account for, or the end of the process is a finding. Leaves
with 1 where there is one. ``--look`` writes one case into a folder and reads it without limits,
``--show`` prints the table of an earlier run. Linux only.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fuzzing import dicom, nifti, pictures
from fuzzing.kinds import Kind
from fuzzing.run import FREE_BYTES, MOST_CPU_S, MOST_TIMES, Tally, as_json, run_kind

from infnet_runtime.errors import InfnetError

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*nifti.KINDS, *pictures.KINDS, *dicom.KINDS)}
_BATCH = 2000  # cases of one process
_PACKAGES = ("infnet", "numpy", "opencv-python-headless", "isal", "pydicom", "python-gdcm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="all where absent")
    parser.add_argument("--look", type=int, metavar="CASE", help="of the one kind and seed that are given")
    parser.add_argument("--keep", type=Path, help="folder for that case")
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--show", type=Path, help="print the table of an earlier --json, and do nothing else")
    options = parser.parse_args()
    if options.show:
        return print(_table(json.loads(options.show.read_text("utf-8"))["kinds"]))
    kinds = [KINDS[name] for name in options.kind or KINDS]
    if options.look is not None:
        options.keep.mkdir()
        try:
            kinds[0].read(kinds[0].case(options.seed, options.look, options.keep))
        except InfnetError as error:
            print(error)
        return None
    started = time.monotonic()
    tallies = {kind.name: _all_of(kind, options.seed, options.cases, kinds) for kind in kinds}
    if options.json:
        facts = {
            "seed": options.seed,
            "limits": {"free_bytes": FREE_BYTES, "times_of_file": MOST_TIMES, "cpu_s": MOST_CPU_S},
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in _PACKAGES},
            "wall_s": round(time.monotonic() - started, 1),
            "kinds": {name: as_json(tally) for name, tally in tallies.items()},
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    findings = [finding for tally in tallies.values() for finding in tally.findings]
    for finding in findings:
        print(f"{finding.kind} {finding.case}: {finding.what}\n  {finding.detail.strip()[-2000:]}")
    print(_table({name: as_json(tally) for name, tally in tallies.items()}))
    if findings:
        raise SystemExit(1)
    return None


def _table(kinds: dict[str, Any]) -> str:
    """What a run came to, in Markdown."""
    lines = [
        "| kind | cases | read | refused | number of codes | most memory, MiB | longest, CPU s | findings |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | {tally['cases']} | {tally['read']} | {sum(tally['refused'].values())} "
        f"| {len(tally['refused'])} | {tally['most_growth_bytes'] / 2**20:.1f} | {tally['most_cpu_s']:.2f} "
        f"| {len(tally['findings'])} |"
        for name, tally in kinds.items()
    ]
    return "\n".join(lines)


def _all_of(kind: Kind, seed: int, cases: int, kinds: list[Kind]) -> Tally:
    count = -(-cases * kind.share // sum(other.share for other in kinds))
    total = Tally()
    for start in range(0, count, _BATCH):
        run_kind(kind, seed=seed, numbers=range(start, min(start + _BATCH, count)), tally=total)
    return total


if __name__ == "__main__":
    main()
