"""Which model each CPU backend may run on this processor: the gate of the 8-bit model, and CPU time.

    python benchmarks/choice.py [CONTENDER ...] [--data DIR] [--every N] [--json FILE]

A contender is a backend and a model, such as ``openvino:int8``; without any, all are run. Each is compared
with ``onnxruntime:float``, the reference. Masks and millilitres go through the gate that lets an 8-bit file
be shipped (``infnet_export.proof.gate``): the 48 test slices of COVID-SemiSeg, and two labelled volumes that
were in no training, by the whole path of ``infnet-infer``. What is not in 8 bit is computed in single
precision, or as a third word says: ``openvino:int8:bf16``, on a processor that has it.

The time is CPU time of the process in the network alone, one thread, batches of one slice; the contenders
take turns slice by slice, and volume by volume.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import datasets

from infnet_export.proof.gate import GateReport, LabelledVolume, compare_models
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import ClosedByBlock, Outputs
from infnet_runtime.cpu import int8_unit
from infnet_runtime.instructions import cpu_flags
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.model.shipped import DEFAULT_INT8_MODEL, DEFAULT_MODEL
from infnet_runtime.slices.preprocess import to_network

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("INFNET_DATA") or ROOT.parent / "shared" / "data")
MODELS = {"float": ROOT / "models" / DEFAULT_MODEL, "int8": ROOT / "models" / DEFAULT_INT8_MODEL}
REFERENCE = "onnxruntime:float"
CONTENDERS = ("openvino:float", "onnxruntime:int8", "openvino:int8")
VOLUMES = ("radiopaedia_4_85506_1", "radiopaedia_29_86491_1")


class Timed(ClosedByBlock):
    """A session that counts its CPU time; what it was asked before it answers from memory."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.backend, self.device, self.precision = session.backend, session.device, session.precision
        self.manifest, self.model_sha256 = session.manifest, session.model_sha256
        self.batch_size, self.coarse = session.batch_size, session.coarse
        self.seconds, self.slices = 0.0, 0
        self._known: dict[str, Outputs] = {}

    @property
    def ms_per_slice(self) -> float:
        """Of those that were run."""
        return 1000 * self.seconds / self.slices

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch, or remember it."""
        key = hashlib.sha256(batch.tobytes()).hexdigest()
        if key not in self._known:
            started = time.process_time()
            self._known[key] = self.session.run(batch)
            self.seconds += time.process_time() - started
            self.slices += len(batch)
        return self._known[key]

    def close(self) -> None:
        """Release the model."""
        self.session.close()


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        reference = stack.enter_context(_open(REFERENCE))
        slices = list(datasets.test_slices(options.data))[:: options.every]
        volumes = [_volume(options.data, name, options.every) for name in VOLUMES]
        _warm(reference, slices[0])
        rows, found = [], []
        for name in options.contenders or CONTENDERS:
            session = stack.enter_context(_open(name))
            _warm(session, slices[0])
            report = compare_models(reference, session, {"48 test slices": slices}, {"two volumes": volumes})
            rows.append((name, session, report))
            found.append(_plain(name, session, reference, report))
        print(_head(options.every), "", sep="\n")
        for name, session, report in rows:
            print(_section(name, session, reference, report), "", sep="\n")
    if options.json:
        document = {"machine": _machine(), "every": options.every, "contenders": found}
        options.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")


def _open(name: str) -> Timed:
    backend, kind, *precision = name.split(":")
    stated = precision[0] if precision else "f32"
    opened = open_session(
        MODELS[kind], backend=backend, device="cpu", threads=1, batch_size=1, precision=stated
    )
    return Timed(opened)


def _warm(session: Timed, labelled: LabelledSlice) -> None:
    """The first run of a session is longer and left out."""
    _, grey, _ = labelled
    session.session.run(to_network(grey[None], Intensity.WINDOWED, session.manifest.preprocess))


def _volume(data: Path, name: str, every: int) -> LabelledVolume:
    """A labelled volume, thinned to every n-th plane, which are n times as far apart."""
    volume, truth = datasets.labelled_volume(data, name)
    if every == 1:
        return name, volume, truth
    affine = volume.affine.copy()
    affine[:3, 2] *= every
    thin = CtVolume(volume.voxels[..., ::every], affine, volume.intensity, volume.source)
    return name, thin, truth[..., ::every]


def _head(every: int) -> str:
    here = ", ".join(f"{value}" for value in _machine().values())
    share = "every slice" if every == 1 else f"every {every}th slice"
    return f"{here}; {share}; against {REFERENCE}, one thread, batches of one slice."


def _section(name: str, session: Timed, reference: Timed, report: GateReport) -> str:
    ratio = reference.ms_per_slice / session.ms_per_slice
    verdict = "passed" if report.passed else "**failed**"
    return (
        f"**{name}** ({session.backend}): {verdict}; {session.ms_per_slice:.0f} ms a slice, the reference "
        f"{reference.ms_per_slice:.0f}: {ratio:.2f} times less\n\n{report.to_table()}"
    )


def _plain(name: str, session: Timed, reference: Timed, report: GateReport) -> dict[str, Any]:
    return {
        "name": name,
        "backend": session.backend,
        "ms_per_slice": round(session.ms_per_slice, 1),
        "reference_ms_per_slice": round(reference.ms_per_slice, 1),
        "times_less": round(reference.ms_per_slice / session.ms_per_slice, 2),
        "gate": report.to_plain(),
    }


def _machine() -> dict[str, str]:
    units = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "units": " ".join(units),
        "int8": f"8-bit products by {int8_unit()}" if int8_unit() else "no unit for 8-bit products",
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "contenders", nargs="*", help=f"such as {', '.join(CONTENDERS)}, which are run where absent"
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--every", type=int, default=1, help="take every n-th slice of each set and volume")
    parser.add_argument("--json", type=Path, help="write every number here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
