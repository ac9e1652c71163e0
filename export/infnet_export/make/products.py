"""Everything one call of ``infnet-export`` makes: files that were compared before any of them got its name.

source -> ONNX -> FP16 and INT8 -> parity report and gates -> files in place -> engine -> Triton repository.
From an ONNX file nothing here needs PyTorch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from infnet_export.graph.hu_entry import with_hu_entry
from infnet_export.graph.onnx_file import model_bytes
from infnet_export.make.comparison import check_hu_entry, compare_all, comparison_slices
from infnet_export.make.in_place import write_all
from infnet_export.make.judged_int8 import judged_int8
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.precision.choice import keep_of, kept_in_words
from infnet_export.precision.float16 import Float16Report, to_float16
from infnet_export.precision.int8 import Int8Report
from infnet_export.precision.ranges import RangeReport, check_ranges, measure_magnitudes
from infnet_export.proof.gate import GateReport, check_gate
from infnet_export.proof.parity_report import ParityReport
from infnet_export.tensorrt.engine import EngineReport, build_engine
from infnet_export.triton import TritonSettings, write_triton
from infnet_runtime.cpu import usable_cores
from infnet_runtime.io.atomic import prepare_folder
from infnet_runtime.io.png import png_bytes


@dataclass
class Products:
    """What was made.

    Parameters
    ----------
    files
        Kind to path.
    """

    files: dict[str, Path] = field(default_factory=dict)
    parity: ParityReport | None = None
    float16: Float16Report | None = None
    ranges: RangeReport | None = None
    int8: Int8Report | None = None
    gate: GateReport | None = None
    engine: EngineReport | None = None

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        import json

        parts = {"float16": self.float16, "ranges": self.ranges, "int8": self.int8, "gate": self.gate}
        return {
            "schema": "infnet.export/1",
            "files": {kind: str(path) for kind, path in self.files.items()},
            "parity": json.loads(self.parity.to_json()) if self.parity else None,
            **{name: part.to_plain() if part else None for name, part in parts.items()},
            "engine": json.loads(self.engine.sidecar.to_json()) if self.engine else None,
        }


def make(start: Start, folder: Path, wanted: Wanted) -> Products:
    """Make everything asked for.

    All files that this machine can make are complete and compared before the first of them appears in
    ``folder``. The engine comes last, because another machine may have to build it.

    Raises
    ------
    GateError
        If a form is too far from the reference or leaves the range of half precision; no file is written.
    InputError
        If there are too few slices to calibrate on.
    BackendError
        If the engine cannot be built here; the files for the machine that can are in place then.
    OutputError
        If the folder cannot be written.
    """
    slices, described = comparison_slices(wanted, start.manifest)
    prepare_folder(folder)  # before the work, so that a wrong place is told at once
    made = Products()
    model = onnx.load_model_from_string(start.content)
    keep = keep_of(model)
    contents = {"onnx": start.content}
    if wanted.fp16 or wanted.engine:
        half, made.float16 = to_float16(model, keep)
        magnitudes = measure_magnitudes(model, slices, threads=usable_cores())
        made.ranges = check_ranges(magnitudes, made.float16.half_tensors, slices=len(slices))
        contents["fp16"] = model_bytes(half)
    if wanted.int8:
        small, made.int8, made.gate = judged_int8(model, start, wanted)
        contents["int8"] = small
    if wanted.hu:
        extended = with_hu_entry(model, *wanted.hu)
        check_hu_entry(extended, start, wanted.hu)
        contents["hu"] = model_bytes(extended)
    made.parity = compare_all(start, contents, slices, described, wanted)
    made.parity.check()
    if made.gate and made.int8:
        check_gate(made.gate, [(cost.part, cost.cost) for cost in made.int8.costs])
    _put_in_place(folder, start.name, contents, made)
    if wanted.engine:
        made.engine = build_engine(
            made.files["fp16"],
            folder / f"{start.name}.plan",
            wanted.engine,
            kept_in_fp32=kept_in_words(keep, [o.channels for o in start.manifest.outputs]),
        )
        made.files["engine"] = made.engine.path
    if wanted.triton:
        served = made.files.get("engine") or made.files.get("fp16") or made.files["onnx"]
        # The plain file is for the CPU, where FP16 would not be computed as such.
        settings = TritonSettings(
            name=start.name, largest_batch=wanted.batch.largest, gpu=served != made.files["onnx"]
        )
        made.files["triton"] = write_triton(served, wanted.triton, settings)
    return made


def _put_in_place(folder: Path, name: str, contents: dict[str, bytes], made: Products) -> None:
    """Write all files under temporary names, then rename them one after the other."""
    assert made.parity
    markdown = made.parity.to_markdown()
    if made.int8:
        markdown += f"\n## What INT8 costs\n\n{made.int8.to_table()}\n"
    if made.gate:
        markdown += f"\n{made.gate.to_table()}\n"
    suffixes = {"onnx": ".onnx", "fp16": ".fp16.onnx", "int8": ".int8.onnx", "hu": ".hu.onnx"}
    writes: dict[str, tuple[Path, bytes]] = {
        kind: (folder / f"{name}{suffixes[kind]}", content) for kind, content in contents.items()
    }
    writes["parity_json"] = (folder / f"{name}.parity.json", made.parity.to_json().encode())
    writes["parity_table"] = (folder / f"{name}.parity.md", markdown.encode())
    writes["parity_picture"] = (folder / f"{name}.parity.png", png_bytes(made.parity.picture))
    write_all(list(writes.values()))
    made.files.update({kind: path for kind, (path, _) in writes.items()})
