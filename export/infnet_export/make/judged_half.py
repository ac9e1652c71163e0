"""Whether a GPU may take the FP16 form by itself: its masks and millilitres against those in FP32.

The gate is that of the 8-bit file, on whole scans, through ONNX Runtime on the CPU, which rounds to half
precision between the layers. What passed is written into the form, where the runtime looks for it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from infnet_export.graph.onnx_file import with_metadata
from infnet_export.make.judged_bf16 import judgement_of, opened
from infnet_export.proof.gate import GateReport, LabelledVolume, check_gate, compare_models
from infnet_runtime.backends.open import open_content
from infnet_runtime.model.arithmetic import FLOAT16
from infnet_runtime.model.judged import JUDGED_KEY, Judgement, Record, subject_of
from infnet_runtime.model.recognise import recognised


@dataclass(frozen=True, eq=False)
class JudgedHalf:
    """An FP16 form that passed.

    Parameters
    ----------
    content
        Of the file, with its record.
    """

    content: bytes
    gate: GateReport
    judgement: Judgement

    def to_table(self) -> str:
        """A section of a report, in Markdown."""
        return (
            f"## FP16 on whole scans\n\n{self.judgement.method}, against the file in single precision: "
            f"passed, and is recorded in it, so that a GPU takes it by itself.\n\n{self.gate.to_table()}\n"
        )


def judge_half(
    content: bytes,
    reference: bytes,
    volumes: Sequence[Path],
    name: str,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> JudgedHalf:
    """Judge an FP16 form, and write the record into it.

    Parameters
    ----------
    content
        Of the form.
    reference
        Content of the file in single precision.
    volumes
        Scans.
    name
        Of the form, for messages.
    say
        Told what is done next.

    Raises
    ------
    GateError
        If it moves masks or volumes too far, or too few of the scans have infection to judge by.
    """
    sets: dict[str, Iterable[LabelledVolume]] = {path.name: opened(path) for path in volumes}
    with open_content(reference, name) as one, open_content(content, name) as other:
        gate = compare_models(one, other, {}, sets, say=say)
        subject = subject_of(content, other.manifest)
    check_gate(gate, advice="keep more of the model in single precision")
    how = f"Rounded to half precision between the layers, ONNX Runtime {version('onnxruntime')} on the CPU"
    against = subject_of(reference, recognised(reference, Path(name)).manifest)
    judgement = judgement_of(gate, against, method=how)
    record = Record(subject_sha256=subject, passed={FLOAT16: judgement})
    return JudgedHalf(with_metadata(content, JUDGED_KEY, record.to_json()), gate, judgement)
