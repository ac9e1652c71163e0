"""Everything one call of ``infnet-export`` makes: files that were compared before any of them got its name.

source -> ONNX -> FP16 and INT8 -> parity report and gates -> files in place -> engine -> Triton repository.
From an ONNX file nothing here needs PyTorch.
"""

import importlib.metadata
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from infnet_export.graph.hu_entry import HU_INPUT, with_hu_entry
from infnet_export.graph.onnx_file import manifest_in, model_bytes, read_onnx, with_manifest
from infnet_export.precision.float16 import DEFAULT_KEEP, Float16Report, to_float16
from infnet_export.precision.int8 import FEWEST_SLICES, Int8Report, cpu_session, to_int8
from infnet_export.precision.ranges import RangeReport, check_ranges, measure_magnitudes
from infnet_export.proof.gate import GateReport, check_gate, compare_models
from infnet_export.proof.parity import (
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    HALF_TOLERANCE,
    PHANTOMS,
    Tolerance,
    check_parity,
    compare,
    phantom_input,
    phantom_slices,
    scan_input,
)
from infnet_export.proof.parity_report import Form, ParityReport, Run, measure_forms
from infnet_export.tensorrt.builder import EngineSettings
from infnet_export.tensorrt.engine_file import EngineReport, build_engine
from infnet_export.triton import TritonSettings, write_triton
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.backends.openvino import load_openvino
from infnet_runtime.backends.tensorrt.sidecar import DEFAULT_BATCH, BatchRange
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_runtime.io.png import png_bytes
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import from_network, to_network
from infnet_runtime.slices.temperature import network_threshold
from infnet_train.data.pictures import Turn, read_labelled

EXACT = Tolerance(largest=1e-4, mean=1e-5)
"""The same file run by two programs, or the same network in single precision: rounding alone. The shipped
network gave 2e-5 and 1e-7 on real slices; the room is for steeper networks."""

_HELD_OUT = 3  # every third labelled slice judges, the others calibrate


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to make beside the ONNX file.

    Parameters
    ----------
    fp16
        A file that computes in half precision.
    int8
        A file that computes in 8 bit, calibrated on ``calibration``.
    calibration
        Folder with ``Imgs`` and ``GT`` of training slices; every third one judges, the others calibrate.
    labelled
        More folders of that kind for the gate of INT8.
    turn
        What turns the slices of these folders upright.
    engine
        How to build a TensorRT engine from the FP16 file.
    hu
        Rows and columns of a file that takes slices in HU.
    triton
        Folder of a model repository.
    verify
        Scan or folder of scans to compare on, instead of synthetic slices.
    """

    fp16: bool = False
    int8: bool = False
    calibration: Path | None = None
    labelled: tuple[Path, ...] = ()
    turn: Turn = "none"
    batch: BatchRange = DEFAULT_BATCH
    engine: EngineSettings | None = None
    hu: tuple[int, int] | None = None
    triton: Path | None = None
    verify: Path | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """The ONNX file to begin with, and what it is compared with.

    Parameters
    ----------
    content
        Of the file.
    allowed
        How far it may be from the reference.
    reference
        What computes the reference, in words.
    exact
        Network input to probabilities of the reference.
    others
        More forms to compare, such as the network in single precision.
    """

    name: str
    content: bytes
    manifest: ModelManifest
    allowed: Tolerance
    reference: str
    exact: Run
    others: tuple[Form, ...] = ()


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


def start_from_onnx(path: Path, file_name: str) -> Start:
    """Begin with an ONNX file of infnet, which is then its own reference.

    Parameters
    ----------
    file_name
        Of the files to make, without ending.

    Raises
    ------
    ModelError
        If the file is refused.
    """
    model, content = read_onnx(path)
    manifest = manifest_in(model, path)
    run = _ort_run(content, manifest.output.name)
    return Start(file_name, content, manifest, EXACT, f"{path.name} in FP32 by ONNX Runtime on the CPU", run)


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
    slices, described = _slices(wanted, start.manifest)
    prepare_folder(folder)  # before the work, so that a wrong place is told at once
    made = Products()
    model = onnx.load_model_from_string(start.content)
    contents = {"onnx": start.content}
    if wanted.fp16 or wanted.engine:
        half, made.float16 = to_float16(model)
        magnitudes = measure_magnitudes(model, slices, threads=usable_cores())
        made.ranges = check_ranges(magnitudes, made.float16.half_tensors, slices=len(slices))
        contents["fp16"] = model_bytes(half)
    if wanted.int8:
        small, made.int8, made.gate = _int8(model, start, wanted)
        contents["int8"] = small
    if wanted.hu:
        extended = with_hu_entry(model, *wanted.hu)
        _check_hu_entry(extended, start, wanted.hu)
        contents["hu"] = model_bytes(extended)
    made.parity = _compare(start, contents, slices, described, wanted)
    made.parity.check()
    if made.gate and made.int8:
        check_gate(made.gate, [(cost.part, cost.cost) for cost in made.int8.costs])
    _put_in_place(folder, start.name, contents, made)
    if wanted.engine:
        made.engine = build_engine(
            made.files["fp16"],
            folder / f"{start.name}.plan",
            wanted.engine,
            kept_in_fp32=(*DEFAULT_KEEP.modules, "maps of one channel"),
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


def _slices(wanted: Wanted, manifest: ModelManifest) -> tuple[FloatArray, str]:
    if wanted.verify is None:
        slices = phantom_input(manifest.preprocess)
        return slices, f"{len(slices)} synthetic ones"
    slices = scan_input(wanted.verify, manifest.preprocess)
    return slices, f"{len(slices)} of {wanted.verify.name}"


def _int8(model: onnx.ModelProto, start: Start, wanted: Wanted) -> tuple[bytes, Int8Report, GateReport]:
    if wanted.calibration is None:
        raise InputError(
            "INT8 needs training slices to calibrate on: give a folder with Imgs and GT by --calibration",
            code=3121,
        )
    labelled = list(read_labelled(wanted.calibration, wanted.turn))
    held_out = labelled[::_HELD_OUT]
    calibration = [one for i, one in enumerate(labelled) if i % _HELD_OUT]
    if len(calibration) < FEWEST_SLICES:
        raise InputError(
            f"{wanted.calibration} holds {len(labelled)} slices, of which {len(calibration)} calibrate; "
            f"expected at least {FEWEST_SLICES} that do: give more training slices",
            code=3121,
        )
    small, report = to_int8(
        model, _inputs(calibration, start.manifest), _inputs(held_out, start.manifest), threads=usable_cores()
    )
    # Another model to whoever reads a report; the numbers measured are not its own.
    content = model_bytes(
        with_manifest(small, replace(start.manifest, name=f"{start.manifest.name}-int8", metrics={}))
    )
    sets: dict[str, Sequence[LabelledSlice]] = {"held-out training slices": held_out}
    sets |= {folder.name: list(read_labelled(folder, wanted.turn)) for folder in wanted.labelled}
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("reference.onnx", "int8.onnx")]
        for path, bytes_ in zip(paths, (start.content, content), strict=True):
            path.write_bytes(bytes_)
        with open_session(paths[0], device="cpu") as one, open_session(paths[1], device="cpu") as other:
            gate = compare_models(one, other, sets)
    return content, report, gate


def _check_hu_entry(extended: onnx.ModelProto, start: Start, shape: tuple[int, int]) -> None:
    """Refuse an entry that gives anything but what the Python preprocessing gives."""
    manifest = start.manifest
    rows, columns = shape
    hu = phantom_slices(PHANTOMS, max(shape))[:, :rows, :columns]
    own = _ort_run(start.content, manifest.output.name)(to_network(hu, Intensity.HU, manifest.preprocess))
    expected = from_network(
        np.asarray(own[:, 0], np.float32), rows, columns, temperature=manifest.output.temperature
    )
    found = cpu_session(extended, threads=usable_cores()).run(None, {HU_INPUT: hu})[0]
    check_parity(compare(found[:, None], expected[:, None], manifest.output.threshold), EXACT)


def _inputs(slices: Sequence[LabelledSlice], manifest: ModelManifest) -> FloatArray:
    return np.concatenate(
        [to_network(grey[None], Intensity.WINDOWED, manifest.preprocess) for _, grey, _ in slices]
    )


def _compare(
    start: Start, contents: dict[str, bytes], slices: FloatArray, described: str, wanted: Wanted
) -> ParityReport:
    output = start.manifest.output
    forms = list(start.others)
    forms.append(
        Form(
            f"{start.name}.onnx, ONNX Runtime CPU",
            _ort_run(contents["onnx"], output.name),
            start.allowed,
            "rounding of stored weights" if start.allowed == FP16_TOLERANCE else "rounding of FP32",
        )
    )
    not_run: dict[str, str] = {}
    if "fp16" in contents:
        run = _ort_run(contents["fp16"], output.name)
        reason = "rounding between the layers; the CPU computes each in FP32"
        forms.append(Form(f"{start.name}.fp16.onnx, ONNX Runtime CPU", run, HALF_TOLERANCE, reason))
        not_run["FP16 arithmetic"] = "needs a GPU; the range check stands in for it here"
    if "int8" in contents:
        run = _ort_run(contents["int8"], output.name)
        forms.append(
            Form(f"{start.name}.int8.onnx, ONNX Runtime CPU", run, None, "Dice and millilitres, see the gate")
        )
    if find_spec("openvino"):
        forms.append(
            Form(
                f"{start.name}.onnx, OpenVINO CPU, FP32",
                _openvino_run(contents["onnx"]),
                max(start.allowed, FP32_TOLERANCE, key=lambda t: t.largest),
                "another program's order of rounding",
            )
        )
    else:
        not_run["OpenVINO"] = "is not installed (pip install 'infnet[openvino]')"
    if wanted.engine:
        not_run["TensorRT engine"] = "runs on the GPU it is built for; the runtime compares it there"
    threshold = network_threshold(output.threshold, output.temperature)
    batch = wanted.batch
    results, picture = measure_forms(
        forms,
        start.exact(slices),
        slices,
        threshold,
        (batch.smallest, batch.usual, batch.largest),
    )
    return ParityReport(
        f"{start.manifest.name} {start.manifest.version}",
        start.reference,
        described,
        threshold,
        {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")},
        results,
        not_run,
        picture,
    )


def _ort_run(content: bytes, output: str) -> Run:
    session: Any = None

    def run(slices: FloatArray) -> npt.NDArray[np.floating]:
        nonlocal session
        if session is None:
            session = cpu_session(onnx.load_model_from_string(content), threads=usable_cores())
        (source,) = (i.name for i in session.get_inputs())
        return np.asarray(session.run([output], {source: slices})[0])

    return run


def _openvino_run(content: bytes) -> Run:
    core = load_openvino().Core()
    # Left alone it takes bfloat16 on processors that have it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_cores()}
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    return lambda slices: np.asarray(compiled([slices])[0])


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
    _write_all(list(writes.values()))
    made.files.update({kind: path for kind, (path, _) in writes.items()})


def _write_all(writes: list[tuple[Path, bytes]]) -> None:
    """Nested, so that no file takes its name before all of them could be written."""
    if not writes:
        return
    (path, content), *rest = writes
    with atomic_write(path) as file:
        file.write(content)
        _write_all(rest)
