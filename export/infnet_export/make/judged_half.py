"""Whether a GPU may take the FP16 form by itself: its masks and millilitres against those in FP32.

The gate is that of the 8-bit file, on whole scans, through ONNX Runtime on the CPU, which rounds to half
precision between the layers. What passed is written into the form, where the runtime looks for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from infnet_export.make.judging import compared_on, judgement_of, subject_in, with_record
from infnet_export.proof.gate import GateReport, check_gate
from infnet_runtime.backends.open import open_content
from infnet_runtime.model.arithmetic import FLOAT16
from infnet_runtime.model.judged import Judgement


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
    with open_content(reference, name) as one, open_content(content, name) as other:
        gate = compared_on(one, other, volumes, say)
    check_gate(gate, advice="keep more of the model in single precision")
    how = f"Rounded to half precision between the layers, ONNX Runtime {version('onnxruntime')} on the CPU"
    judgement = judgement_of(gate, subject_in(reference, name), method=how)
    return JudgedHalf(with_record(content, name, FLOAT16, judgement), gate, judgement)
