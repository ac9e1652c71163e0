"""What may run a model: backends on devices, in the order of preference, which is written here alone.

With ``auto`` the first of these that works is used:

1. TensorRT, if the model is an engine, and nothing else then;
2. ONNX Runtime on CUDA, if it is installed with CUDA and the driver sees a GPU;
3. OpenVINO on the CPU: it takes 0.55 of the CPU time of ONNX Runtime with AVX2, and 0.51 with AMX, each with
   the model that suits it, and its masks pass the gate (``docs/performance.md``, ``benchmarks/choice.py``);
4. ONNX Runtime on the CPU, the reference.

That was measured on x86. On other processors it was not, OpenVINO has no 8-bit products there, and ONNX
Runtime comes first. What is asked for by name is used or refused.
"""

import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from infnet_runtime.backends.precision import BF16, no_bf16, refuse_unknown
from infnet_runtime.errors import BackendError
from infnet_runtime.model.shipped import DEFAULT_MODEL

AUTO, ONNXRUNTIME, OPENVINO, TENSORRT = "auto", "onnxruntime", "openvino", "tensorrt"
BACKENDS = (AUTO, ONNXRUNTIME, OPENVINO, TENSORRT)
CPU, CUDA = "cpu", "cuda"

_X86 = ("x86_64", "amd64")
_ENGINE_SUFFIXES = (".plan", ".engine", ".trt")


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


def candidates(
    model: Path | None, *, backend: str = AUTO, device: str = AUTO, precision: str = AUTO
) -> list[Candidate]:
    """What may run a model, in the order of preference, and at least one.

    Raises
    ------
    BackendError
        If the backend, the device or the precision is not known, if they do not go together or with the
        model, or if nothing is installed that could.
    """
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is not known, expected {', '.join(BACKENDS)}", code=5003)
    kind, _, number = device.partition(":")
    if kind not in (AUTO, CPU, CUDA) or (":" in device and not (kind == CUDA and _is_number(number))):
        raise BackendError(f"device '{device}' is not known, expected auto, cpu, cuda or cuda:N", code=5001)
    refuse_unknown(precision)
    index = int(number or 0)
    if (model is not None and is_engine(model)) or backend == TENSORRT:
        engine = _tensorrt(model, backend, kind, index)
        if precision == BF16:
            raise no_bf16("a TensorRT engine")
        return [engine]
    if backend == OPENVINO:
        if kind == CUDA:
            raise BackendError(
                f"backend openvino runs on the CPU, device '{device}' was asked for; choose --device cpu or "
                "--backend onnxruntime",
                code=5004,
            )
        return [Candidate(OPENVINO, CPU)]
    if precision == BF16:
        if backend == ONNXRUNTIME or kind == CUDA:
            raise no_bf16("ONNX Runtime" if backend == ONNXRUNTIME else f"device '{device}'")
        return [Candidate(OPENVINO, CPU)]
    found = [
        Candidate(name, place, index if place == CUDA else 0)
        for name, place in preferred()
        if kind in (AUTO, place) and backend in (AUTO, name) and (backend != AUTO or is_installed(name))
    ]
    if not found:
        raise nothing_installed(ONNXRUNTIME if kind == CUDA else AUTO)
    return found


def preferred() -> list[tuple[str, str]]:
    """Backends and devices that run an ONNX model on this machine, the best first."""
    cpu = [OPENVINO, ONNXRUNTIME] if is_x86() else [ONNXRUNTIME, OPENVINO]
    return [(ONNXRUNTIME, CUDA), *((name, CPU) for name in cpu)]


def is_x86() -> bool:
    """Whether this is the kind of processor that the order on the CPU was measured on."""
    return platform.machine().lower() in _X86


def is_engine(model: Path) -> bool:
    """Whether a file is a TensorRT engine, by its name."""
    return model.suffix.lower() in _ENGINE_SUFFIXES


def is_installed(backend: str) -> bool:
    """Whether the package of a backend is there."""
    return find_spec(backend) is not None


def nothing_installed(backend: str = AUTO) -> BackendError:
    """The refusal of a backend whose package is missing; of ``auto``, for which any would do."""
    if backend == OPENVINO:
        return BackendError("OpenVINO is missing: pip install 'infnet[openvino]'", code=5015)
    if backend == ONNXRUNTIME:
        return BackendError(
            "ONNX Runtime is missing: pip install 'infnet[onnxruntime]', or 'infnet[gpu]' for NVIDIA",
            code=5010,
        )
    return BackendError(
        "nothing is installed that runs a model: pip install 'infnet[cpu]', or 'infnet[gpu]' for NVIDIA",
        code=5031,
    )


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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
