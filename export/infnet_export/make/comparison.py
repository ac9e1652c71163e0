"""Every file that runs here against the reference of the start, before any of them gets its name."""

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import onnx

from infnet_export.graph.hu_entry import HU_INPUT
from infnet_export.graph.raw_session import raw_session
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.proof.parity_report import Form, FormResult, ParityReport, Run, measure_forms
from infnet_export.proof.runs import by_onnxruntime, by_openvino
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.candidates import ONNXRUNTIME, OPENVINO
from infnet_runtime.backends.open import open_content
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.cpu import usable_cores
from infnet_runtime.metrics.parity import (
    ENLARGED_TOLERANCE,
    EXACT,
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    HALF_CLASS_TOLERANCE,
    HALF_TOLERANCE,
    compare,
    network_thresholds,
    worst_of,
)
from infnet_runtime.model.arithmetic import INT8, form_of
from infnet_runtime.model.manifest import ModelManifest, OutputSpec
from infnet_runtime.model.specs import SIGMOID
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.segment.sampled import PHANTOMS, phantom_input, phantom_slices, scan_input
from infnet_runtime.slices.preprocess import from_network, to_network


@dataclass(frozen=True, eq=False)
class Compared:
    """Network input to compare on.

    Parameters
    ----------
    slices : (n, channels, size, size)
    names
        Of the slices.
    described
        Where they come from, in words.
    """

    slices: FloatArray
    names: list[str]
    described: str


def comparison_slices(wanted: Wanted, manifest: ModelManifest) -> Compared:
    """What to compare on."""
    if wanted.verify is None:
        slices = phantom_input(manifest.preprocess)
        return Compared(
            slices, [f"phantom {k + 1}" for k in range(len(slices))], f"{len(slices)} synthetic ones"
        )
    slices, names = scan_input(wanted.verify, manifest.preprocess)
    return Compared(slices, names, f"{len(slices)} of {wanted.verify.name}")


def hu_entry_result(extended: onnx.ModelProto, start: Start, wanted: Wanted) -> FormResult:
    """How far an entry for HU is from the Python preprocessing, from HU to calibrated probabilities."""
    assert wanted.hu
    manifest, shape = start.manifest, wanted.hu
    rows, columns = shape
    hu = phantom_slices(PHANTOMS, max(shape))[:, :rows, :columns]
    batch = to_network(hu, Intensity.HU, manifest.preprocess)
    own = by_onnxruntime(start.content, start.name)(batch)
    names = [output.name for output in manifest.outputs]
    given = raw_session(extended, threads=usable_cores()).run(names, {HU_INPUT: hu})
    parities = []
    for output, found in zip(manifest.outputs, given, strict=True):
        expected = _on_slice(own[output.name], output, rows, columns)
        parities.append(compare(found.reshape(expected.shape), expected, output.thresholds))
    worst = worst_of(parities)
    return FormResult(
        name=f"{start.name}.hu.onnx from {rows} x {columns} in HU, against the Python preprocessing",
        runs={len(hu): worst},
        worst=worst,
        tolerance=EXACT,
        reason="rounding of FP32 around the network",
        kind="hu",
        farthest=f"phantom {worst.farthest_slice + 1}",
    )


def _on_slice(probabilities: FloatArray, output: OutputSpec, rows: int, columns: int) -> FloatArray:
    """Calibrated probabilities on the grid of the slice, (n, channels, size, size) -> (n, channels, h, w)."""
    temperature = output.temperature if output.activation == SIGMOID else 1.0
    channels = [
        from_network(channel, rows, columns, temperature=temperature)
        for channel in np.moveaxis(probabilities, 1, 0)
    ]
    return np.stack(channels, axis=1)


def compare_all(
    start: Start,
    contents: dict[str, bytes],
    compared: Compared,
    wanted: Wanted,
    *,
    more: tuple[FormResult, ...] = (),
    say: Callable[[str], None] = lambda text: None,
) -> ParityReport:
    """Run every file that runs here, and whatever else the start brings.

    Parameters
    ----------
    contents
        Kind of file to its content.
    more
        Forms that were compared already.
    say
        Told what is compared next.
    """

    def run_of(kind: str) -> Run:
        return by_onnxruntime(contents[kind], start.name)

    forms = list(start.others)
    forms.append(
        Form(
            f"{start.name}.onnx, ONNX Runtime CPU",
            run_of("onnx"),
            start.allowed,
            "rounding of stored weights" if start.allowed == FP16_TOLERANCE else "rounding of FP32",
        )
    )
    not_run: dict[str, str] = {}
    if "fp16" in contents:
        reason = "rounding between the layers; the CPU computes each in FP32"
        name = f"{start.name}.fp16.onnx, ONNX Runtime CPU"
        half = Form(name, run_of("fp16"), HALF_TOLERANCE, reason, "fp16", HALF_CLASS_TOLERANCE)
        forms.append(half)
        not_run["FP16 arithmetic"] = (
            "needs a GPU; the range check stands in for it here. There: infnet-infer verify "
            f"{start.name}.fp16.onnx --against {start.name}.onnx --device cuda"
        )
    if "int8" in contents:
        name = f"{start.name}.int8.onnx, ONNX Runtime CPU"
        forms.append(Form(name, run_of("int8"), None, "Dice and millilitres, see the gate", "int8"))
    if form_of(contents["onnx"]) == INT8:
        not_run["OpenVINO"] = (
            "rounds differently in 8 bit, which no distance judges. Masks: infnet-infer verify "
            f"{start.name}.onnx --backend openvino --against REFERENCE.onnx"
        )
    elif find_spec("openvino"):
        forms.append(
            Form(
                f"{start.name}.onnx, OpenVINO CPU, FP32",
                by_openvino(contents["onnx"], start.name),
                max(start.allowed, FP32_TOLERANCE, key=lambda t: t.largest),
                "another program's order of rounding",
            )
        )
    else:
        not_run["OpenVINO"] = "is not installed (pip install 'infnet[openvino]')"
    if wanted.engine:
        not_run["TensorRT engine"] = (
            "runs on the GPU it is built for. There: infnet-infer verify "
            f"{start.name}.plan --against {start.name}.onnx"
        )
    thresholds = network_thresholds(start.manifest)
    batch = wanted.batch
    say(f"computing the reference: {start.reference}")
    reference = start.exact(compared.slices)
    output = start.manifest.output
    threshold = thresholds[output.name][output.infection_channel]
    results, picture = measure_forms(
        forms,
        reference,
        compared.slices,
        thresholds,
        (batch.smallest, batch.usual, batch.largest),
        infected=reference[output.name][:, output.infection_channel] >= threshold,
        names=compared.names,
        say=say,
    )
    coarse = tuple(_coarse_results(contents, start, compared, say))
    return ParityReport(
        f"{start.manifest.name} {start.manifest.version}",
        start.reference,
        compared.described,
        threshold,
        {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")},
        (*results, *coarse, *more),
        not_run,
        picture,
    )


def _coarse_results(
    contents: dict[str, bytes], start: Start, compared: Compared, say: Callable[[str], None]
) -> Iterator[FormResult]:
    """Coarse logits enlarged by the runtime against the full map of the same file and backend."""
    tried = [(kind, ONNXRUNTIME) for kind in ("onnx", "fp16", "int8") if kind in contents]
    if find_spec(OPENVINO):
        tried.append(("onnx", OPENVINO))
    slices, manifest = compared.slices, start.manifest
    for kind, backend in tried:
        with (
            open_content(contents[kind], start.name, backend=backend) as full,
            open_content(contents[kind], start.name, backend=backend, coarse=True) as coarse,
        ):
            if coarse.coarse is None:
                continue
            ending = ".onnx" if kind == "onnx" else f".{kind}.onnx"
            name = f"{start.name}{ending}, {backend}, coarse logits enlarged, against its full map"
            say(f"comparing {name}")
            found, expected = (_one_by_one(session, slices) for session in (coarse, full))
        threshold = network_thresholds(manifest)[manifest.output.name][manifest.output.infection_channel]
        parity = compare(found[:, None], expected[:, None], [threshold])
        yield FormResult(
            name=name,
            runs={1: parity},
            worst=parity,
            tolerance=ENLARGED_TOLERANCE,
            reason="order of rounding in the enlargement",
            kind=kind,
            farthest=compared.names[parity.farthest_slice],
        )


def _one_by_one(session: Session, slices: FloatArray) -> FloatArray:
    return np.concatenate([infection_probability(session, one[None]) for one in slices])
