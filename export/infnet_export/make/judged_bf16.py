"""Whether a model may compute in bfloat16: its masks and millilitres against those in single precision.

What a processor with units for bfloat16 would give is imitated here, so that any machine can judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.onnx_file import model_bytes, with_metadata
from infnet_export.make.judging import compared_on, judgement_of, subject_in, volumes_in, with_record
from infnet_export.precision.bfloat16 import emulated_bf16
from infnet_export.proof.exact_session import ExactSession
from infnet_export.proof.gate import GateReport, check_gate
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.model.arithmetic import BF16, FLOAT16, FLOAT32, computed_in, form_of
from infnet_runtime.model.judged import JUDGED_KEY, Judgement
from infnet_runtime.model.recognise import recognised


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
    volumes = volumes_in(paths)
    with (
        ExactSession(reference, name, precision=FLOAT32) as one,
        ExactSession(emulated, name, precision=computed_in(form, BF16)) as other,
    ):
        gate = compared_on(one, other, volumes, say)
    judgement = judgement_of(
        gate,
        subject_in(reference, name),
        method=f"rounded to bfloat16 between the layers, ONNX Runtime {version('onnxruntime')}",
    )
    try:
        check_gate(gate, advice=f"{name} stays without a record and runs in single precision")
    except GateError as error:
        return JudgedBf16(with_metadata(content, JUDGED_KEY, None), gate, judgement, error)
    return JudgedBf16(with_record(content, name, BF16, judgement), gate, judgement, None)


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
