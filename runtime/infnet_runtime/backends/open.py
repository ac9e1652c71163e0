"""Choice of the backend and the device, and the default model."""

import os
from importlib.util import find_spec
from pathlib import Path

from infnet_runtime.backends.session import Session
from infnet_runtime.errors import BackendError, ModelError

DEFAULT_MODEL = "infnet.onnx"


def open_session(model: Path, *, device: str = "auto", threads: int = 0) -> Session:
    """Load a model.

    Parameters
    ----------
    model
        An ONNX file written by ``infnet-export``.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.
    threads
        CPU threads; 0 takes what the machine gives this process.

    Raises
    ------
    ModelError
        If the model is missing, damaged or foreign.
    BackendError
        If the backend is not installed or the device is not there.
    """
    if model.suffix.lower() in (".pth", ".pt", ".safetensors"):
        raise ModelError(
            f"{model} holds training weights, expected an ONNX model; make one with: "
            f"infnet-export {model} -o model.onnx",
            code=4034,
        )
    if not model.is_file():
        raise ModelError(f"no model at {model}; give one with --model, or reinstall infnet", code=4030)
    if find_spec("onnxruntime") is None:
        raise BackendError("ONNX Runtime is missing: pip install 'infnet[cpu]' or 'infnet[gpu]'", code=5010)
    from infnet_runtime.backends.ort import OrtSession

    return OrtSession(model, device=device, threads=threads or usable_cores())


def default_model() -> Path:
    """The shipped model: ``INFNET_MODEL``, else in the installed package, else in the source tree.

    Raises
    ------
    ModelError
        If there is none.
    """
    named = os.environ.get("INFNET_MODEL")
    if named:
        return Path(named)
    package = Path(__file__).parents[1]
    places = [package / "models" / DEFAULT_MODEL, package.parents[1] / "models" / DEFAULT_MODEL]
    for place in places:
        if place.is_file():
            return place
    raise ModelError(
        f"no model was shipped with this installation (looked in {', '.join(map(str, places))}); "
        "give one with --model or INFNET_MODEL",
        code=4030,
    )


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the quota of its control group where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")  # "<quota> <period>" in microseconds, or "max <period>"
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
