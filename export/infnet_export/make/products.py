"""Everything one call of ``infnet-export`` makes: files that were compared before any of them got its name.

source -> ONNX -> FP16, INT8, HU -> parity report and gates -> files in place -> engine -> Triton repository.
A form that fails leaves no file, and those that passed keep theirs; the report says how each of them did.
From an ONNX file nothing here needs PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.coarse_logits import with_coarse_logits
from infnet_export.graph.hu_entry import with_hu_entry
from infnet_export.graph.onnx_file import model_bytes, with_metadata
from infnet_export.make.comparison import compare_all, comparison_slices, hu_entry_result
from infnet_export.make.in_place import write_all
from infnet_export.make.judged_bf16 import JudgedBf16, judge_bf16
from infnet_export.make.judged_half import JudgedHalf, judge_half
from infnet_export.make.judged_int8 import judged_int8, read_judges
from infnet_export.make.judging import volumes_in
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.precision.borrowed import borrowing
from infnet_export.precision.choice import KeepFp32, keep_of, kept_in_words
from infnet_export.precision.float16 import Float16Report, to_float16
from infnet_export.precision.int8 import Int8Report
from infnet_export.precision.ranges import (
    RangeReport,
    check_ranges,
    measure_magnitudes,
    range_report,
    with_offenders,
)
from infnet_export.proof.gate import GateReport, check_gate
from infnet_export.proof.parity_report import FormResult, ParityReport
from infnet_export.tensorrt.engine import EngineReport, build_engine
from infnet_export.triton import TritonSettings, check_place, write_triton
from infnet_runtime.arrays import FloatArray
from infnet_runtime.cpu import usable_cores, using_threads
from infnet_runtime.errors import GateError, InfnetError, OutputError
from infnet_runtime.io.atomic import check_folder, prepare_folder
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.judged import JUDGED_KEY

Say = Callable[[str], None]
_TOO_FEW = (3120, 7033)  # volumes, and such with infection
_SUFFIXES = {"onnx": ".onnx", "fp16": ".fp16.onnx", "int8": ".int8.onnx", "hu": ".hu.onnx"}


@dataclass
class Products:
    """What was made, and what was not.

    Parameters
    ----------
    files
        Kind to path.
    failed
        Kind of file to why it was refused.
    kept
        What of the FP16 file is in single precision.
    """

    files: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, GateError] = field(default_factory=dict)
    parity: ParityReport | None = None
    float16: Float16Report | None = None
    kept: KeepFp32 = field(default_factory=KeepFp32)
    ranges: RangeReport | None = None
    int8: Int8Report | None = None
    gate: GateReport | None = None
    bf16: dict[str, JudgedBf16] = field(default_factory=dict)
    half: JudgedHalf | None = None
    engine: EngineReport | None = None

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        import json

        parts = {"float16": self.float16, "ranges": self.ranges, "int8": self.int8, "gate": self.gate}
        return {
            "schema": "infnet.export/1",
            "files": {kind: str(path) for kind, path in self.files.items()},
            "failed": {kind: str(error) for kind, error in self.failed.items()},
            "parity": json.loads(self.parity.to_json()) if self.parity else None,
            **{name: part.to_plain() if part else None for name, part in parts.items()},
            "half": self.half.gate.to_plain() if self.half else None,
            "bf16": {kind: judged.to_plain() for kind, judged in self.bf16.items()},
            "engine": json.loads(self.engine.sidecar.to_json()) if self.engine else None,
        }

    def check(self) -> None:
        """Refuse if any form failed; the files of the others are in place.

        Raises
        ------
        GateError
            Naming what failed and by how much, what was kept, and the report.
        """
        if not self.failed:
            return
        kept = [path.name for kind, path in self.files.items() if kind in (*_SUFFIXES, "engine", "triton")]
        told = "; ".join(f"{kind}: {error.args[0]}" for kind, error in self.failed.items())
        codes = {error.code for error in self.failed.values()}
        raise GateError(
            f"{told}. {'Kept: ' + ', '.join(kept) if kept else 'No model was written'}; the report is "
            f"{self.files['parity_table']}",
            code=codes.pop() if len(codes) == 1 else 7005,
        )


def make(start: Start, folder: Path, wanted: Wanted, *, say: Say = lambda text: None) -> Products:
    """Make everything asked for.

    Places and inputs are checked before the work. All files that this machine can make are complete and
    compared before the first of them appears in ``folder``. The engine comes last, because another machine
    may have to build it.

    Parameters
    ----------
    say
        Told what is done next.

    Returns
    -------
    What was made. A form that is too far from the reference, or leaves the range of half precision, is among
    ``failed`` and has no file; call ``check`` on it.

    Raises
    ------
    InputError
        If there are too few slices to calibrate on, or a scan is refused.
    BackendError
        If the engine cannot be built here; the files for the machine that can are in place then.
    OutputError
        If a place cannot be written.
    """
    check_places(folder, start.name, wanted)
    with using_threads(wanted.threads):
        return _made(start, folder, wanted, say)


def check_places(folder: Path, name: str, wanted: Wanted) -> None:
    """Refuse places that cannot be written, before the work; makes nothing.

    Parameters
    ----------
    name
        Of the files, without ending.

    Raises
    ------
    OutputError
        Naming the first.
    """
    check_folder(folder)
    for suffix in (*_SUFFIXES.values(), ".plan", ".parity.json", ".parity.md", ".parity.png"):
        path = folder / f"{name}{suffix}"
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is a folder; choose another name", code=8005)
    if wanted.triton:
        check_place(wanted.triton, name)


def _made(start: Start, folder: Path, wanted: Wanted, say: Say) -> Products:
    say("reading the slices to compare on")
    compared = comparison_slices(wanted, start.manifest)
    judges = read_judges(wanted) if wanted.int8 else None
    if wanted.bf16:
        volumes_in(_given(wanted))
    prepare_folder(folder)
    made = Products()
    # A record of the plain file says nothing about what is made of it.
    model = onnx.load_model_from_string(with_metadata(start.content, JUDGED_KEY, None))
    contents = {"onnx": start.content}
    more: tuple[FormResult, ...] = ()
    if wanted.fp16 or wanted.engine:
        try:
            contents["fp16"] = _half(model, compared.slices, made, say)
            _judge_half(start, contents, wanted, made, say)
        except GateError as error:
            made.failed["fp16"] = error
    if judges:
        try:
            contents["int8"], made.int8, made.gate = judged_int8(model, start, judges, say=say)
            check_gate(made.gate, [(cost.part, cost.cost) for cost in made.int8.costs])
        except GateError as error:
            made.failed["int8"] = error
    if wanted.bf16:
        _judge_bf16(start, contents, wanted, made, say)
    if wanted.hu:
        say(f"entry for HU of {wanted.hu[0]} x {wanted.hu[1]} pixels")
        extended = with_hu_entry(model, *wanted.hu)
        contents["hu"] = model_bytes(extended)
        more = (hu_entry_result(extended, start, wanted),)
    if wanted.coarse:
        contents = {kind: _with_coarse(kind, content, say) for kind, content in contents.items()}
    made.parity = compare_all(start, contents, compared, wanted, more=more, say=say)
    made.failed = made.parity.failures() | made.failed
    _put_in_place(folder, start.name, contents, made, borrow=wanted.borrow)
    if wanted.engine and "fp16" in made.files:
        say("building the engine")
        made.engine = build_engine(
            made.files["fp16"],
            folder / f"{start.name}.plan",
            wanted.engine,
            kept_in_fp32=kept_in_words(made.kept, [o.channels for o in start.manifest.outputs]),
        )
        made.files["engine"] = made.engine.path
    if wanted.triton and "onnx" in made.files:
        served = made.files.get("engine") or made.files.get("fp16") or made.files["onnx"]
        # The plain file is for the CPU, where FP16 would not be computed as such.
        settings = TritonSettings(
            name=start.name, largest_batch=wanted.batch.largest, gpu=served != made.files["onnx"]
        )
        made.files["triton"] = write_triton(served, wanted.triton, settings)
    return made


def _judge_bf16(start: Start, contents: dict[str, bytes], wanted: Wanted, made: Products, say: Say) -> None:
    """Judge every file that has float layers; one that fails is kept, and runs in single precision."""
    faults = []
    for kind in ("onnx", "int8"):
        if kind not in contents or kind in made.failed:
            continue
        name = f"{start.name}{_SUFFIXES[kind]}"
        judged = judge_bf16(contents[kind], start.content, _given(wanted), name, say=say)
        contents[kind], made.bf16[name] = judged.content, judged
        if judged.fault:
            faults.append(f"{name}: {judged.fault.args[0]}")
    if faults:
        made.failed["bf16"] = GateError("; ".join(faults), code=7034)


def _judge_half(start: Start, contents: dict[str, bytes], wanted: Wanted, made: Products, say: Say) -> None:
    """Judge the FP16 form on whole scans; without enough of them it has no record, and runs where named."""
    name = f"{start.name}{_SUFFIXES['fp16']}"
    try:
        volumes = volumes_in(_given(wanted))
        made.half = judge_half(contents["fp16"], start.content, volumes, name, say=say)
        contents["fp16"] = made.half.content
    except InfnetError as error:
        if error.code not in _TOO_FEW:
            raise
        say(f"FP16: without a record, so that no GPU takes it by itself: {error.args[0]}")


def _given(wanted: Wanted) -> list[Path]:
    return [wanted.verify] if wanted.verify else []


def _half(model: onnx.ModelProto, slices: FloatArray, made: Products, say: Say) -> bytes:
    say(f"FP16: ranges of all tensors on {len(slices)} slices")
    made.kept = keep_of(model)
    half, made.float16 = to_float16(model, made.kept)
    magnitudes = measure_magnitudes(model, slices, threads=usable_cores())
    found = range_report(magnitudes, made.float16.half_tensors, slices=len(slices))
    if found.offenders:
        made.kept = with_offenders(made.kept, found)
        large = len(made.kept.tensors)
        say(f"FP16: {large} tensors are too large for it; what makes or takes them stays FP32")
        half, made.float16 = to_float16(model, made.kept)
        _refuse_nothing_left(made.float16, made.kept)
    made.ranges = check_ranges(magnitudes, made.float16.half_tensors, slices=len(slices))
    return model_bytes(half)


def _refuse_nothing_left(report: Float16Report, kept: KeepFp32) -> None:
    if report.fp16_nodes == 0:
        raise GateError(
            f"half precision holds none of the {len(report.fp32_nodes)} layers: {len(kept.tensors)} tensors "
            "are too large for it; use the file in single precision, or train again with smaller weights",
            code=7006,
        )


def _with_coarse(kind: str, content: bytes, say: Say) -> bytes:
    """A file that gives coarse logits too, where its graph ends with their enlargement."""
    if kind == "hu":  # it does not end on the network's grid
        return content
    model = onnx.load_model_from_string(content)
    extended = with_coarse_logits(model)
    if extended is model:
        say(f"{kind}: no coarse logits, its last step is no sigmoid of a linear resize in floating point")
        return content
    return model_bytes(extended)


def _put_in_place(
    folder: Path, name: str, contents: dict[str, bytes], made: Products, *, borrow: bool
) -> None:
    """Write all files that passed under temporary names, then rename them one after the other.

    Everything is made of the plain file: if that failed, none of them passed.
    """
    assert made.parity
    passed = {} if "onnx" in made.failed else {k: c for k, c in contents.items() if k not in made.failed}
    if borrow and "fp16" in passed:
        passed["fp16"] = borrowing(passed["fp16"], passed["onnx"], f"{name}{_SUFFIXES['onnx']}")
    writes = {kind: (folder / f"{name}{_SUFFIXES[kind]}", content) for kind, content in passed.items()}
    writes["parity_json"] = (folder / f"{name}.parity.json", made.parity.to_json().encode())
    writes["parity_table"] = (folder / f"{name}.parity.md", _table(made).encode())
    writes["parity_picture"] = (folder / f"{name}.parity.png", png_bytes(made.parity.picture))
    write_all(list(writes.values()))
    made.files.update({kind: path for kind, (path, _) in writes.items()})


def _table(made: Products) -> str:
    assert made.parity
    text = made.parity.to_markdown()
    refused = {kind: error for kind, error in made.failed.items() if kind in _SUFFIXES}
    if refused:
        text += "\n## Failed, and not written\n\n"
        text += "".join(f"- {kind}: {error.args[0]}\n" for kind, error in refused.items())
    if made.int8:
        text += f"\n## What INT8 costs\n\n{made.int8.to_table()}\n"
    if made.gate:
        text += f"\n{made.gate.to_table()}\n"
    if made.half:
        text += f"\n{made.half.to_table()}"
    for name, judged in made.bf16.items():
        text += f"\n{judged.to_table(name)}"
    return text
