"""What is installed, what works and what is missing, with the command that brings it.

The proof is a trial: the model that would be used without options is loaded, a slice of a phantom must give
probabilities, and a small scan goes the whole way from file to mask. Nothing here needs a backend, so that it
also answers where none is installed.
"""

import importlib
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from infnet_runtime.backends import Session
from infnet_runtime.backends.candidates import CPU, CUDA, ONNXRUNTIME, OPENVINO, Candidate, preferred
from infnet_runtime.errors import BackendError, InfnetError
from infnet_runtime.version import __version__

SCHEMA = "infnet.doctor/1"

_BASE = {
    "numpy": "numpy",
    "nibabel": "nibabel",
    "cv2": "opencv-python-headless",
    "cc3d": "connected-components-3d",
}


_DEFAULT, _WHOLE = "trial default", "trial file to mask"
_PLANES = slice(9, 13)  # of the planes of the phantom; both lungs and the ground glass are in them


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    ABSENT = "absent"  # not installed, and not needed for the main job
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One part.

    Parameters
    ----------
    found
        What is there.
    advice
        What to do, empty where there is nothing.
    """

    part: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All parts, and whether a scan can be segmented here."""

    works: bool
    findings: tuple[Finding, ...]

    def to_json(self) -> str:
        """For machines."""
        document = {"schema": SCHEMA, "works": self.works, "findings": [asdict(f) for f in self.findings]}
        return json.dumps(document, indent=2) + "\n"

    def to_text(self) -> str:
        """One line for each part, and the verdict."""
        width = max(len(f.part) for f in self.findings)
        lines = []
        for f in self.findings:
            lines.append(f"{f.state:<7} {f.part:<{width}}  {f.found}")
            if f.advice:
                lines.append(f"{'':<{width + 8}}  -> {f.advice}")
        lines.append("infnet works here" if self.works else "infnet does not work here, see 'broken' above")
        return "\n".join(lines)


def examine(*, model: Path | None = None) -> Diagnosis:
    """Look at everything.

    Parameters
    ----------
    model
        Tried instead of the one that would be used.
    """
    base = list(_base_packages())
    optional = [*_runtimes(), *_compiled(), *_gpu_parts(), *_readers()]
    usable = all(f.state is State.OK for f in base)
    trials = list(_trials(model)) if usable else []
    # Other backends are offers.
    works = {_DEFAULT, _WHOLE} <= {f.part for f in trials if f.state is State.OK}
    return Diagnosis(works=works, findings=(_installation(), _processor(), *base, *optional, *trials))


def _installation() -> Finding:
    here = f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Finding(part="infnet", state=State.OK, found=here)


def _processor() -> Finding:
    import os

    from infnet_runtime.cpu import bf16_unit, core_quota, int8_unit, usable_cores
    from infnet_runtime.instructions import cpu_flags

    quota = core_quota()
    units = [name for name in ("avx2", "avx512f") if name in cpu_flags()]
    found = [
        f"{usable_cores()} of {os.cpu_count()} cores",
        *([f"control group allows {quota:g}"] if quota is not None else []),
        *([" ".join(units)] if units else []),
        f"8-bit products by {int8_unit()}" if int8_unit() else "no unit for 8-bit products",
        *([f"bfloat16 by {bf16_unit()}"] if bf16_unit() else []),
    ]
    return Finding(part="processor", state=State.OK, found=", ".join(found))


def _base_packages() -> Iterator[Finding]:
    for module, distribution in _BASE.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            yield Finding(
                part=distribution,
                state=State.BROKEN,
                found=f"cannot be loaded: {error}",
                advice=f"pip install --force-reinstall {distribution}",
            )
        else:
            yield Finding(
                part=distribution, state=State.OK, found=_version(distribution) or "version not known"
            )


def _runtimes() -> Iterator[Finding]:
    yield _onnxruntime()
    yield _openvino()


def _onnxruntime() -> Finding:
    part, both = "onnxruntime", (_version("onnxruntime"), _version("onnxruntime-gpu"))
    if all(both):
        # They own the same folder; whichever came last is there, and removing one breaks the other.
        return Finding(
            part=part,
            state=State.BROKEN,
            found=f"onnxruntime {both[0]} and onnxruntime-gpu {both[1]} are installed over each other",
            advice="pip uninstall onnxruntime onnxruntime-gpu; pip install 'infnet[onnxruntime]' or "
            "'infnet[gpu]'",
        )
    if find_spec("onnxruntime") is None:
        return Finding(
            part=part,
            state=State.ABSENT,
            found=f"not installed; {_place(ONNXRUNTIME)} and on CUDA",
            advice="pip install 'infnet[onnxruntime]', or 'infnet[gpu]' for NVIDIA",
        )
    try:
        module = importlib.import_module("onnxruntime")
        found = f"{module.__version__}, built for {', '.join(module.get_available_providers())}"
    except (ImportError, OSError, AttributeError) as error:
        return Finding(
            part=part,
            state=State.BROKEN,
            found=f"cannot be loaded: {error}",
            advice="pip uninstall onnxruntime onnxruntime-gpu, then pip install 'infnet[onnxruntime]'",
        )
    return Finding(part=part, state=State.OK, found=found)


def _openvino() -> Finding:
    install, there = "pip install 'infnet[openvino]'", _version("openvino")
    if there is None or find_spec("openvino") is None:
        found = f"not installed; {_place(OPENVINO)}"
        return Finding(part="openvino", state=State.ABSENT, found=found, advice=install)
    from infnet_runtime.backends.openvino import can_bf16, core_of, load_openvino

    try:
        units = "units" if can_bf16(core_of(load_openvino())) else "no units"
    except BackendError as error:
        return Finding(part="openvino", state=State.BROKEN, found=str(error.args[0]), advice=install)
    return Finding(part="openvino", state=State.OK, found=f"{there}, finds {units} for bf16")


def _compiled() -> Iterator[Finding]:
    """Where models that OpenVINO compiled are kept, before the trials add theirs."""
    from infnet_runtime.backends.compiled import OFF, VARIABLE, compiled_models

    if find_spec(OPENVINO) is None:
        return
    part, kept = "compiled models", compiled_models()
    reason = f"{VARIABLE} is {OFF}, or there is no home" if kept is None else kept.trouble()
    if kept is None or reason:
        yield Finding(
            part=part,
            state=State.ABSENT,
            found=f"not kept: {reason}",
            advice=f"only costs time at each start; {VARIABLE}=FOLDER names a folder of your own",
        )
        return
    files, size = kept.size()
    found = f"{kept.folder}: {files} files, {size / 2**20:.0f} MiB; the folder may be removed at any time"
    yield Finding(part=part, state=State.OK, found=found)


def _place(backend: str) -> str:
    """Of a backend on the CPU of this machine."""
    first = next(name for name, kind in preferred() if kind == CPU)
    return "the first choice on this processor" if backend == first else "another backend for the CPU"


def _gpu_parts() -> Iterator[Finding]:
    from infnet_runtime.backends.cuda.driver import find_gpu

    try:
        gpu = find_gpu()
    except BackendError as error:
        yield Finding(
            part="NVIDIA driver",
            state=State.ABSENT,
            found=str(error.args[0]),
            advice="only needed for --device cuda",
        )
    else:
        found = f"{gpu.name}, compute capability {gpu.capability}, driver for CUDA {gpu.driver_cuda}"
        yield Finding(part="NVIDIA driver", state=State.OK, found=found)
    yield _imported("tensorrt", "tensorrt", "pip install 'infnet[tensorrt]'", "runs engines on NVIDIA GPUs")
    yield _imported("tensorrt_rtx", "tensorrt-rtx", "pip install tensorrt-rtx", "runs engines on RTX cards")
    yield _imported("cuda", "cuda-bindings", "pip install cuda-bindings", "memory of the GPU for engines")
    # PyCUDA's driver part cannot be loaded without a driver.
    yield _imported("pycuda", "pycuda", "pip install pycuda", "the same, where cuda-bindings is absent")


def _readers() -> Iterator[Finding]:
    yield _imported("isal", "isal", "pip install isal", "without it .nii.gz takes twice the time")


def _imported(module: str, distribution: str, install: str, use: str) -> Finding:
    there = _version(distribution)
    if there is None or find_spec(module) is None:
        return Finding(part=distribution, state=State.ABSENT, found=f"not installed; {use}", advice=install)
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Finding(
            part=distribution,
            state=State.BROKEN,
            found=f"{there} cannot be loaded: {error}",
            advice=f"{install} --force-reinstall",
        )
    return Finding(part=distribution, state=State.OK, found=there)


def _trials(model: Path | None) -> Iterator[Finding]:
    """First what runs without options, then every other backend that is installed."""
    from infnet_runtime.backends.open import open_candidate, open_chosen
    from infnet_runtime.backends.suited_model import suited_model

    used = None
    try:
        started = time.perf_counter()
        session, why = open_chosen(model, coarse=True)
        with session:
            used = session.backend
            order = ", ".join(f"{backend} on {kind}" for backend, kind in preferred())
            yield Finding(part="choice", state=State.OK, found=f"{why}; in the order {order}")
            yield Finding(part=_DEFAULT, state=State.OK, found=_try(session, time.perf_counter() - started))
            yield _whole(session)
    except InfnetError as error:
        yield _failed(_DEFAULT, error)
    if model is not None:
        return
    for candidate in _others():
        name = str(candidate)
        try:
            started = time.perf_counter()
            with open_candidate(candidate, suited_model(candidate)[0], coarse=True) as session:
                if session.backend != used:
                    found = _try(session, time.perf_counter() - started)
                    yield Finding(part=f"trial {name}", state=State.OK, found=found)
        except InfnetError as error:
            yield _failed(f"trial {name}", error)


def _others() -> Iterator[Candidate]:
    if find_spec(ONNXRUNTIME) is not None:
        yield Candidate(ONNXRUNTIME, CPU)
        if _driver_is_there() and _version("onnxruntime-gpu"):
            yield Candidate(ONNXRUNTIME, CUDA)
    if find_spec(OPENVINO) is not None:
        yield Candidate(OPENVINO, CPU)


def _driver_is_there() -> bool:
    from infnet_runtime.backends.cuda.driver import find_gpu

    try:
        find_gpu()
    except BackendError:
        return False
    return True


def _try(session: Session, load_s: float) -> str:
    """Run one slice of a phantom.

    Raises
    ------
    InfnetError
        If what comes back are no probabilities.
    """
    from infnet_runtime.backends.session import infection_probability
    from infnet_runtime.model.asked import outputs_in_words
    from infnet_runtime.scan.ct import Intensity
    from infnet_runtime.scan.phantom import chest_phantom
    from infnet_runtime.slices.preprocess import to_network

    infected = chest_phantom((5, 288, 384)).hu[1:2]
    batch = to_network(infected, Intensity.HU, session.manifest.preprocess)
    infection_probability(session, batch)
    started = time.perf_counter()
    probability = infection_probability(session, batch)
    slice_ms = (time.perf_counter() - started) * 1000
    return (
        f"{session.backend} on {session.device}: model {session.manifest.name} {session.manifest.version} "
        f"({session.model_sha256[:12]}) in {session.precision}, loaded in {load_s:.1f} s, a slice in "
        f"{slice_ms:.0f} ms, probabilities {probability.min():.3f} to {probability.max():.3f}, gives "
        f"{outputs_in_words(session.manifest)}"
    )


def _whole(session: Session) -> Finding:
    """A packed scan from file to mask, through everything that ``infnet-infer`` uses."""
    try:
        with tempfile.TemporaryDirectory(prefix="infnet-doctor-") as folder:
            return Finding(part=_WHOLE, state=State.OK, found=_segment_file(session, Path(folder)))
    except InfnetError as error:
        return _failed(_WHOLE, error)
    except Exception as error:  # whatever it is, scans would meet it too
        return Finding(
            part=_WHOLE,
            state=State.BROKEN,
            found=" ".join(f"{type(error).__name__}: {error}".split()),
            advice="pip install --force-reinstall infnet",
        )


def _segment_file(session: Session, folder: Path) -> str:
    import numpy as np

    from infnet_runtime.io import open_scan
    from infnet_runtime.io.nifti import write_nifti
    from infnet_runtime.scan.phantom import chest_phantom
    from infnet_runtime.segment.segmenter import Segmenter

    started = time.perf_counter()
    phantom = chest_phantom((24, 320, 400), (10.0, 1.02, 0.96))
    path, mask = folder / "phantom.nii.gz", folder / "phantom.infection.nii.gz"
    write_nifti(path, phantom.hu[_PLANES], phantom.affine)
    scan = open_scan(path)
    result = Segmenter(session).predict(scan.volume)
    scan.write_mask(mask, result.mask)
    if not result.lungs.any():
        raise RuntimeError("no lungs were found in a phantom that has two")
    import nibabel

    written = np.asarray(nibabel.load(mask).dataobj)  # type: ignore[attr-defined]
    if not np.array_equal(written, result.mask):
        raise RuntimeError("the mask that was written is not the mask that was found")
    return (
        f"{result.provenance.slices_run} slices of a packed phantom, read, segmented, written and read back "
        f"in {time.perf_counter() - started:.1f} s"
    )


def _failed(part: str, error: InfnetError) -> Finding:
    return Finding(
        part=part,
        state=State.BROKEN,
        found=str(error),
        advice=f"see {error.code} in docs/errors.md",
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
