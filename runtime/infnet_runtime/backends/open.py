"""Choice of the backend, the device and the model, in this order.

With ``auto`` the first of these that works is used; the log says which, and why not the ones before it:

1. TensorRT, if the model is an engine;
2. ONNX Runtime on CUDA, if it is installed with CUDA and the driver sees a GPU;
3. ONNX Runtime on the CPU, the reference;
4. OpenVINO on the CPU, if it is all that is installed. It can be faster, ``infnet-infer bench`` tells.

What is asked for by name is used or refused.
"""

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from infnet_runtime.backends.cuda.driver import find_gpu
from infnet_runtime.backends.session import Session
from infnet_runtime.cpu import int8_unit, usable_cores
from infnet_runtime.errors import BackendError, ModelError

__all__ = [
    "BACKENDS",
    "Candidate",
    "candidates",
    "default_model",
    "open_candidate",
    "open_session",
    "usable_cores",
]

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "infnet.onnx"
DEFAULT_INT8_MODEL = "infnet.int8.onnx"

AUTO, ONNXRUNTIME, OPENVINO, TENSORRT = "auto", "onnxruntime", "openvino", "tensorrt"
BACKENDS = (AUTO, ONNXRUNTIME, OPENVINO, TENSORRT)
CPU, CUDA = "cpu", "cuda"

_ENGINE_SUFFIXES = (".plan", ".engine", ".trt")
_TRAINING_SUFFIXES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Candidate:
    """A backend on a device.

    Parameters
    ----------
    kind
        ``cpu`` or ``cuda``.
    index
        Number of the GPU.
    """

    backend: str
    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.backend} on {self.kind}" + (f":{self.index}" if self.kind == CUDA else "")


def open_session(
    model: Path | None = None,
    *,
    device: str = AUTO,
    threads: int = 0,
    backend: str = AUTO,
    batch_size: int | None = None,
) -> Session:
    """Load a model.

    Parameters
    ----------
    model
        An ONNX file written by ``infnet-export``, or a TensorRT engine with its sidecar. Where absent,
        ``INFNET_MODEL``, else the shipped model that suits the device.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.
    threads
        CPU threads; 0 takes what the machine gives this process.
    backend
        ``onnxruntime``, ``openvino`` or ``tensorrt`` are used or refused; ``auto`` takes the first that
        works, in the order at the top of this module.
    batch_size
        Slices that a GPU is prepared for at a time; where absent, what the engine was tuned for, or 4.

    Raises
    ------
    ModelError
        If the model is missing, damaged or foreign.
    BackendError
        If the backend is not installed or the device is not there.
    """
    model = model or _named_model()
    if model is not None:
        _check_kind(model)
    passed_over: list[str] = []
    possible = candidates(model, backend=backend, device=device)
    for candidate in possible:
        try:
            if device == AUTO and candidate.kind == CUDA and candidate.backend == ONNXRUNTIME:
                find_gpu(candidate.index)  # quicker than to let ONNX Runtime find out
            path = model or shipped_model(candidate)
            session = open_candidate(candidate, path, threads=threads, batch_size=batch_size)
        except BackendError as error:
            if candidate == possible[-1]:
                raise
            passed_over.append(f"not {candidate}: {error.args[0]}")
            continue
        if AUTO in (device, backend) or model is None:
            chosen = [f"device {device}: {session.device}", f"backend {backend}: {session.backend}"]
            why = f", the processor has {int8_unit()}" if path.name == DEFAULT_INT8_MODEL else ""
            logger.info("%s", "; ".join([*chosen, f"model {path.name}{why}", *passed_over]))
        return session
    raise AssertionError("no candidates")


def candidates(model: Path | None, *, backend: str = AUTO, device: str = AUTO) -> list[Candidate]:
    """What may run a model, in the order of preference, and at least one.

    Raises
    ------
    BackendError
        If the backend or the device is not known, if they do not go together or with the model, or if nothing
        is installed that could.
    """
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is not known, expected {', '.join(BACKENDS)}", code=5003)
    kind, _, number = device.partition(":")
    if kind not in (AUTO, CPU, CUDA) or (":" in device and not (kind == CUDA and _is_number(number))):
        raise BackendError(f"device '{device}' is not known, expected auto, cpu, cuda or cuda:N", code=5001)
    index = int(number or 0)
    if (model is not None and is_engine(model)) or backend == TENSORRT:
        return [_tensorrt(model, backend, kind, index)]
    if backend == OPENVINO:
        if kind == CUDA:
            raise BackendError(
                f"backend openvino runs on the CPU, device '{device}' was asked for; choose --device cpu or "
                "--backend onnxruntime",
                code=5004,
            )
        return [Candidate(OPENVINO, CPU)]
    found = [
        Candidate(name, place, index if place == CUDA else 0)
        for name, place in ((ONNXRUNTIME, CUDA), (ONNXRUNTIME, CPU), (OPENVINO, CPU))
        if kind in (AUTO, place) and backend in (AUTO, name) and (backend != AUTO or _is_installed(name))
    ]
    if not found:
        raise _nothing_installed()
    return found


def default_model(*, int8: bool = False) -> Path:
    """The model that is used where none is given: ``INFNET_MODEL``, else the shipped one.

    It is looked for in the installed package, then in the source tree.

    Parameters
    ----------
    int8
        Prefer the one that computes in 8 bit, where it was shipped.

    Raises
    ------
    ModelError
        If there is none.
    """
    named = _named_model()
    if named is not None:
        return named
    package = Path(__file__).parents[1]
    folders = [package / "models", package.parents[1] / "models"]
    names = [DEFAULT_INT8_MODEL, DEFAULT_MODEL] if int8 else [DEFAULT_MODEL]
    places = [folder / name for name in names for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise ModelError(
        f"no model was shipped with this installation (looked in {', '.join(map(str, folders))}); "
        "give one with --model or INFNET_MODEL",
        code=4030,
    )


def shipped_model(candidate: Candidate) -> Path:
    """The shipped model that suits a backend on a device.

    On a CPU that multiplies bytes in one instruction it is the 8-bit one, everywhere else the one in single
    precision: x86 without such a unit adds the products in 16 bits, which saturate.

    Raises
    ------
    ModelError
        If there is none.
    """
    return default_model(int8=candidate.kind == CPU and int8_unit() is not None)


def is_engine(model: Path) -> bool:
    """Whether a file is a TensorRT engine, by its name."""
    return model.suffix.lower() in _ENGINE_SUFFIXES


def _named_model() -> Path | None:
    named = os.environ.get("INFNET_MODEL")
    return Path(named) if named else None


def _check_kind(model: Path) -> None:
    if model.suffix.lower() in _TRAINING_SUFFIXES:
        raise ModelError(
            f"{model} holds training weights, expected an ONNX model; make one with: "
            f"infnet-export {model} -o model.onnx",
            code=4034,
        )
    # Of an engine the sidecar is needed as well, and both are looked for together.
    if not is_engine(model) and not model.is_file():
        raise ModelError(f"no model at {model}; give one with --model, or reinstall infnet", code=4030)


def _tensorrt(model: Path | None, backend: str, kind: str, index: int) -> Candidate:
    if model is None or not is_engine(model):
        source = model or DEFAULT_MODEL
        raise BackendError(
            f"backend tensorrt runs engines ({', '.join(_ENGINE_SUFFIXES)}), found {source}; build one on "
            f"the machine that runs it: infnet-export {source} -o engines --trt, then give it with --model",
            code=5005,
        )
    if backend not in (AUTO, TENSORRT):
        raise BackendError(
            f"{model} is a TensorRT engine, backend {backend} was asked for; choose --backend tensorrt, or "
            "give the ONNX model",
            code=5005,
        )
    if kind == CPU:
        raise BackendError(
            f"{model} is a TensorRT engine and runs on CUDA, device 'cpu' was asked for; choose --device "
            "cuda, or give the ONNX model",
            code=5004,
        )
    return Candidate(TENSORRT, CUDA, index)


def open_candidate(
    candidate: Candidate, model: Path, *, threads: int = 0, batch_size: int | None = None
) -> Session:
    """Load a model on exactly this backend and device.

    Raises
    ------
    ModelError
        If the model is damaged or foreign.
    BackendError
        If the backend is not installed or the device is not there.
    """
    threads = threads or usable_cores()
    if candidate.backend == TENSORRT:
        from infnet_runtime.backends.tensorrt.session import TensorRtSession

        return TensorRtSession(model, index=candidate.index, batch_size=batch_size)
    if not _is_installed(candidate.backend):
        raise _nothing_installed(candidate.backend)
    if candidate.backend == OPENVINO:
        from infnet_runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(model, threads=threads, batch_size=batch_size)
    if candidate.kind == CPU:
        from infnet_runtime.backends.ort.cpu import OrtSession

        return OrtSession(model, threads=threads, batch_size=batch_size)
    from infnet_runtime.backends.ort.cuda import OrtCudaSession

    return OrtCudaSession(model, index=candidate.index, threads=threads, batch_size=batch_size)


def _is_installed(backend: str) -> bool:
    return find_spec(backend) is not None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _nothing_installed(backend: str = ONNXRUNTIME) -> BackendError:
    if backend == OPENVINO:
        return BackendError("OpenVINO is missing: pip install 'infnet[openvino]'", code=5015)
    return BackendError("ONNX Runtime is missing: pip install 'infnet[cpu]' or 'infnet[gpu]'", code=5010)
