"""The 8-bit file: some labelled slices give the ranges, the others and whole scans judge it."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from infnet_export.graph.onnx_file import model_bytes, with_manifest
from infnet_export.make.start import Start
from infnet_export.make.wanted import Wanted
from infnet_export.precision.int8 import Int8Report, to_int8
from infnet_export.precision.quantised import FEWEST_SLICES
from infnet_export.proof.gate import GateReport, LabelledVolume, compare_models
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.candidates import ONNXRUNTIME, OPENVINO, is_installed
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.segment.sampled import phantom_scan, scans_in
from infnet_runtime.slices.preprocess import to_network
from infnet_train.data.masks import read_labelled

_HELD_OUT = 3  # every third labelled slice judges, the others give the ranges


@dataclass(frozen=True, eq=False)
class Judges:
    """What an 8-bit file is calibrated on, and what judges it.

    Parameters
    ----------
    calibration, held_out
        Labelled training slices.
    sets
        More labelled slices, by the name of their set.
    volumes
        Scans, by the name of their set; opened one after the other whenever they are gone through.
    """

    calibration: list[LabelledSlice]
    held_out: list[LabelledSlice]
    sets: dict[str, list[LabelledSlice]]
    volumes: dict[str, Iterable[LabelledVolume]]


def read_judges(wanted: Wanted) -> Judges:
    """Read them, before any work is done.

    Raises
    ------
    InputError
        If no labelled slices were given, too few of them, or a scan is refused.
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
    sets = {folder.name: list(read_labelled(folder, wanted.turn)) for folder in wanted.labelled}
    return Judges(calibration, held_out, sets, {"scans": _Volumes(wanted)})


def judged_int8(
    model: onnx.ModelProto, start: Start, judges: Judges, *, say: Callable[[str], None] = lambda text: None
) -> tuple[bytes, Int8Report, GateReport]:
    """Make the 8-bit file and compare its masks with those of the start.

    Backends round differently in 8 bit, and which of them a user gets depends on the machine, so it is
    compared in each that is installed; the start is computed in the reference.

    Parameters
    ----------
    say
        Told what is done next.
    """
    calibration, held_out = judges.calibration, judges.held_out
    say(f"INT8: ranges of all tensors on {len(calibration)} slices")
    small, report = to_int8(
        model,
        _inputs(calibration, start.manifest),
        _inputs(held_out, start.manifest),
        threads=usable_cores(),
        progress=lambda done, total: say(f"INT8: what each part costs, {done} of at most {total} models"),
    )
    # Another model to whoever reads a report. The numbers measured are not its own; the level of false marks
    # is kept, since a model without one would warn of nothing.
    level = start.manifest.false_marks
    metrics = level.metrics() if level else {}
    named = replace(start.manifest, name=f"{start.manifest.name}-int8", metrics=metrics)
    content = model_bytes(with_manifest(small, named))
    sets: dict[str, Sequence[LabelledSlice]] = {"held-out training slices": held_out, **judges.sets}
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("reference.onnx", "int8.onnx")]
        for path, bytes_ in zip(paths, (start.content, content), strict=True):
            path.write_bytes(bytes_)
        with _exact(paths[0], ONNXRUNTIME) as one:
            gates = [
                _compared(one, paths[1], backend, sets, judges.volumes, say)
                for backend in (ONNXRUNTIME, OPENVINO)
                if is_installed(backend)
            ]
    together = {name: shift for gate in gates for name, shift in gate.sets.items()}
    return content, report, replace(gates[0], sets=together)


def _compared(
    reference: Session,
    candidate: Path,
    backend: str,
    slices: dict[str, Sequence[LabelledSlice]],
    volumes: dict[str, Iterable[LabelledVolume]],
    say: Callable[[str], None],
) -> GateReport:
    """The 8-bit file in a backend, which the names of the sets say where it is not the reference."""
    where = "" if backend == ONNXRUNTIME else f", in {backend}"
    with _exact(candidate, backend) as session:
        return compare_models(
            reference,
            session,
            {name + where: members for name, members in slices.items()},
            {name + where: scans for name, scans in volumes.items()},
            say=say,
        )


def _exact(path: Path, backend: str) -> Session:
    """What is not in 8 bit in single precision, whatever the processor has."""
    return open_session(path, backend=backend, device="cpu", precision="f32")


class _Volumes:
    """Volumes among the scans to verify on; a phantom where there is none, so that millilitres are judged."""

    def __init__(self, wanted: Wanted) -> None:
        self._verify = wanted.verify

    def __iter__(self) -> Iterator[LabelledVolume]:
        given = False
        for path in scans_in(self._verify) if self._verify else []:
            scan = open_scan(path).volume
            if scan.grid.has_size:
                given = True
                yield path.name, scan, None
        if not given:
            yield "phantom, for no volume was given by --verify", phantom_scan(), None


def _inputs(slices: Sequence[LabelledSlice], manifest: ModelManifest) -> FloatArray:
    return np.concatenate(
        [to_network(grey[None], Intensity.WINDOWED, manifest.preprocess) for _, grey, _ in slices]
    )
