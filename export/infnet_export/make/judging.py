"""Whole scans that judge a form of a model, and the record of what passed in its file.

The gate is that of the 8-bit file. What passed is written into the model file, where the runtime looks for
it; no other byte of the file changes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from infnet_export.graph.onnx_file import with_metadata
from infnet_export.proof.gate import GateReport, LabelledVolume, SetShift, compare_models
from infnet_runtime.backends import Session
from infnet_runtime.errors import GateError, InputError
from infnet_runtime.io import open_scan
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, Record, subject_of
from infnet_runtime.model.recognise import recognised
from infnet_runtime.segment.sampled import scans_in

FEWEST_SCANS = 2
"""Scans with infection that judge at least; one may be the easy one."""


def volumes_in(paths: Sequence[Path]) -> list[Path]:
    """Files with a voxel size among those given, each once.

    Raises
    ------
    InputError
        If there are too few to judge by, or one cannot be read.
    """
    files = {file.resolve(): file for path in paths for file in scans_in(path)}
    found = [file for file in files.values() if open_scan(file).volume.grid.has_size]
    names = {file.name for file in found}
    if len(found) < FEWEST_SCANS or len(names) < len(found):
        raise InputError(
            f"{len(found)} volumes of {len(names)} different names to judge bf16 on, expected at least "
            f"{FEWEST_SCANS}, each with a name of its own; give CT volumes with --verify",
            code=3120,
        )
    return found


def compared_on(
    reference: Session, candidate: Session, volumes: Sequence[Path], say: Callable[[str], None]
) -> GateReport:
    """Both models on whole scans, each a set of its own."""
    return compare_models(reference, candidate, {}, {path.name: _opened(path) for path in volumes}, say=say)


def _opened(path: Path) -> Iterator[LabelledVolume]:
    """One scan, opened when it is asked for."""
    yield path.name, open_scan(path).volume, None


def judgement_of(gate: GateReport, reference_sha256: str, *, method: str) -> Judgement:
    """The figures that are recorded of a gate whose sets are single scans.

    Raises
    ------
    GateError
        If too few of the scans have infection to judge by.
    """
    scans = list(gate.sets.values())
    marked = [scan for scan in scans if scan.size_reference > gate.limits.few_ml]
    if len(marked) < FEWEST_SCANS:
        raise GateError(
            f"the model marks more than {gate.limits.few_ml:g} ml in {len(marked)} of {len(scans)} scans, "
            f"expected at least {FEWEST_SCANS} such scans: empty masks agree in any precision; give scans "
            "with infection",
            code=7033,
        )
    shares = [scan.volume_shift for scan in scans if math.isfinite(scan.volume_shift)]
    return Judgement(
        scans=len(scans),
        smallest_dice=round(min(scan.agreement for scan in scans), 5),
        largest_ml=round(max(map(_moved, scans)), 3),
        largest_percent=round(100 * max(shares), 3),
        infection_ml=round(sum(scan.size_reference for scan in scans), 1),
        reference_sha256=reference_sha256,
        method=method,
    )


def with_record(content: bytes, name: str, precision: str, judgement: Judgement) -> bytes:
    """A model file with the record that it passed in a precision, in the place of what it had."""
    record = Record(subject_sha256=subject_in(content, name), passed={precision: judgement})
    return with_metadata(content, JUDGED_KEY, record.to_json())


def subject_in(content: bytes, name: str) -> str:
    """Hash of all that masks depend on, of a model file by its name for messages."""
    return subject_of(content, recognised(content, Path(name)).manifest)


def _moved(scan: SetShift) -> float:
    return abs(scan.size_candidate - scan.size_reference)
