"""Every file that runs here against the reference of the start, before any of them gets its name."""

import importlib.metadata
from importlib.util import find_spec

import onnx

from infnet_export.graph.hu_entry import HU_INPUT
from infnet_export.graph.raw_session import raw_session
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.proof.parity import (
    EXACT,
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    HALF_TOLERANCE,
    PHANTOMS,
    check_parity,
    compare,
    network_thresholds,
    phantom_input,
    phantom_slices,
    scan_input,
)
from infnet_export.proof.parity_report import Form, ParityReport, measure_forms
from infnet_export.proof.runs import by_onnxruntime, by_openvino
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.session import infection_of
from infnet_runtime.cpu import usable_cores
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import from_network, to_network


def comparison_slices(wanted: Wanted, manifest: ModelManifest) -> tuple[FloatArray, str]:
    """Network input to compare on, and where it comes from in words."""
    if wanted.verify is None:
        slices = phantom_input(manifest.preprocess)
        return slices, f"{len(slices)} synthetic ones"
    slices = scan_input(wanted.verify, manifest.preprocess)
    return slices, f"{len(slices)} of {wanted.verify.name}"


def check_hu_entry(extended: onnx.ModelProto, start: Start, shape: tuple[int, int]) -> None:
    """Refuse an entry that gives anything but what the Python preprocessing gives."""
    manifest = start.manifest
    rows, columns = shape
    hu = phantom_slices(PHANTOMS, max(shape))[:, :rows, :columns]
    batch = to_network(hu, Intensity.HU, manifest.preprocess)
    own = by_onnxruntime(start.content, start.name)(batch)
    expected = from_network(
        infection_of(own, manifest), rows, columns, temperature=manifest.output.temperature
    )
    found = raw_session(extended, threads=usable_cores()).run(None, {HU_INPUT: hu})[0]
    check_parity(compare(found[:, None], expected[:, None], [manifest.output.threshold]), EXACT)


def compare_all(
    start: Start, contents: dict[str, bytes], slices: FloatArray, described: str, wanted: Wanted
) -> ParityReport:
    """Run every file that runs here, and whatever else the start brings.

    Parameters
    ----------
    contents
        Kind of file to its content.
    described
        Where the slices come from, in words.
    """
    forms = list(start.others)
    forms.append(
        Form(
            f"{start.name}.onnx, ONNX Runtime CPU",
            by_onnxruntime(contents["onnx"], start.name),
            start.allowed,
            "rounding of stored weights" if start.allowed == FP16_TOLERANCE else "rounding of FP32",
        )
    )
    not_run: dict[str, str] = {}
    if "fp16" in contents:
        run = by_onnxruntime(contents["fp16"], start.name)
        reason = "rounding between the layers; the CPU computes each in FP32"
        forms.append(Form(f"{start.name}.fp16.onnx, ONNX Runtime CPU", run, HALF_TOLERANCE, reason))
        not_run["FP16 arithmetic"] = "needs a GPU; the range check stands in for it here"
    if "int8" in contents:
        run = by_onnxruntime(contents["int8"], start.name)
        forms.append(
            Form(f"{start.name}.int8.onnx, ONNX Runtime CPU", run, None, "Dice and millilitres, see the gate")
        )
    if find_spec("openvino"):
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
        not_run["TensorRT engine"] = "runs on the GPU it is built for; the runtime compares it there"
    thresholds = network_thresholds(start.manifest)
    batch = wanted.batch
    results, picture = measure_forms(
        forms,
        start.exact(slices),
        slices,
        thresholds,
        (batch.smallest, batch.usual, batch.largest),
    )
    return ParityReport(
        f"{start.manifest.name} {start.manifest.version}",
        start.reference,
        described,
        thresholds[start.manifest.output.name][start.manifest.output.infection_channel],
        {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")},
        results,
        not_run,
        picture,
    )
