"""Whether a model may compute in bfloat16: its masks and millilitres against those in single precision.

What a processor with units for bfloat16 would give is imitated here, so that any machine can judge. The gate
is that of the 8-bit file, on whole scans alone. What passed is written into the model file, where the runtime
looks for it; no other byte of the file changes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.onnx_file import model_bytes, with_metadata
from infnet_export.precision.bfloat16 import emulated_bf16
from infnet_export.proof.exact_session import ExactSession
from infnet_export.proof.gate import GateReport, LabelledVolume, SetShift, check_gate, compare_models
from infnet_runtime.errors import GateError, InputError, ModelError
from infnet_runtime.io import open_scan
from infnet_runtime.model.arithmetic import BF16, FLOAT16, FLOAT32, computed_in, form_of
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, Record, subject_of
from infnet_runtime.model.recognise import recognised
from infnet_runtime.segment.sampled import scans_in

FEWEST_SCANS = 2
"""Scans with infection that judge at least; one may be the easy one."""


@dataclass(frozen=True, eq=False)
class JudgedBf16:
    """A file that was judged.

    Parameters
    ----------
    content
        Of the file: with a record where it passed, with none where it did not.
    fault
        Why it did not pass.
    """

    content: bytes
    gate: GateReport
    judgement: Judgement
    fault: GateError | None

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return self.gate.to_plain()

    def to_table(self, name: str) -> str:
        """A section of a report, in Markdown."""
        verdict = (
            "did not pass, and runs in single precision" if self.fault else "passed, and is recorded in it"
        )
        return (
            f"## {name} in bfloat16\n\nImitated ({self.judgement.method}), against the file in single "
            f"precision: {verdict}.\n\n{self.gate.to_table()}\n"
        )


def judge_bf16(
    content: bytes,
    reference: bytes,
    paths: Sequence[Path],
    name: str,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> JudgedBf16:
    """Judge a file, and write the verdict into it.

    Parameters
    ----------
    content
        Of a file in single precision or with quantised layers.
    reference
        Content of the file in single precision; the same file, or the one it was quantised from.
    paths
        Scans and folders of scans; volumes among them judge.
    name
        Of the file, for messages.
    say
        Told what is done next.

    Raises
    ------
    InputError
        If there are too few volumes, or a scan is refused.
    ModelError
        If a file is no model of infnet or of another form.
    GateError
        If too few of the scans have infection to judge by.
    """
    check_forms(content, reference, name)
    form = form_of(content)
    say(f"bf16: imitating it in {name}")
    emulated = model_bytes(emulated_bf16(onnx.load_model_from_string(content)))
    sets: dict[str, Iterable[LabelledVolume]] = {path.name: opened(path) for path in volumes_in(paths)}
    with (
        ExactSession(reference, name, precision=FLOAT32) as one,
        ExactSession(emulated, name, precision=computed_in(form, BF16)) as other,
    ):
        gate = compare_models(one, other, {}, sets, say=say)
    judgement = judgement_of(
        gate,
        subject_of(reference, recognised(reference, Path(name)).manifest),
        method=f"rounded to bfloat16 between the layers, ONNX Runtime {version('onnxruntime')}",
    )
    try:
        check_gate(gate, advice=f"{name} stays without a record and runs in single precision")
    except GateError as error:
        return JudgedBf16(with_metadata(content, JUDGED_KEY, None), gate, judgement, error)
    subject = subject_of(content, recognised(content, Path(name)).manifest)
    record = Record(subject_sha256=subject, passed={BF16: judgement})
    return JudgedBf16(with_metadata(content, JUDGED_KEY, record.to_json()), gate, judgement, None)


def check_forms(content: bytes, reference: bytes, name: str) -> None:
    """Refuse files that cannot be judged, before the work.

    Raises
    ------
    ModelError
        If one is no model of infnet, or of a form that says nothing about bfloat16.
    """
    recognised(content, Path(name))
    recognised(reference, Path("the reference"))
    if form_of(content) == FLOAT16:
        raise ModelError(
            f"{name} computes in float16; expected a file in single precision or in 8 bit, whose float "
            "layers could be computed in bf16",
            code=4063,
        )
    if form_of(reference) != FLOAT32:
        raise ModelError(
            f"{name} would be compared with a file in {form_of(reference)}; give the one in single precision "
            "that it was made from with --reference",
            code=4064,
        )


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


def opened(path: Path) -> Iterator[LabelledVolume]:
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


def _moved(scan: SetShift) -> float:
    return abs(scan.size_candidate - scan.size_reference)
