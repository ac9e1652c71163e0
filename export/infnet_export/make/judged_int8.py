"""The 8-bit file: some labelled slices give the ranges, the others judge it."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from infnet_export.graph.onnx_file import model_bytes, with_manifest
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.precision.int8 import Int8Report, to_int8
from infnet_export.precision.quantised import FEWEST_SLICES
from infnet_export.proof.gate import GateReport, compare_models
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import to_network
from infnet_train.data.masks import read_labelled

_HELD_OUT = 3  # every third labelled slice judges, the others give the ranges


def judged_int8(model: onnx.ModelProto, start: Start, wanted: Wanted) -> tuple[bytes, Int8Report, GateReport]:
    """Make the 8-bit file and compare its masks with those of the start.

    Raises
    ------
    InputError
        If no labelled slices were given, or too few of them.
    """
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
    # Another model to whoever reads a report. The numbers measured are not its own; the level of false marks
    # is kept, since a model without one would warn of nothing.
    level = start.manifest.false_marks
    metrics = level.metrics() if level else {}
    named = replace(start.manifest, name=f"{start.manifest.name}-int8", metrics=metrics)
    content = model_bytes(with_manifest(small, named))
    sets: dict[str, Sequence[LabelledSlice]] = {"held-out training slices": held_out}
    sets |= {folder.name: list(read_labelled(folder, wanted.turn)) for folder in wanted.labelled}
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("reference.onnx", "int8.onnx")]
        for path, bytes_ in zip(paths, (start.content, content), strict=True):
            path.write_bytes(bytes_)
        with open_session(paths[0], device="cpu") as one, open_session(paths[1], device="cpu") as other:
            gate = compare_models(one, other, sets)
    return content, report, gate


def _inputs(slices: Sequence[LabelledSlice], manifest: ModelManifest) -> FloatArray:
    return np.concatenate(
        [to_network(grey[None], Intensity.WINDOWED, manifest.preprocess) for _, grey, _ in slices]
    )
