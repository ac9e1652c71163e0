"""Choice of the backend, the device and the model, in this order, and the opening of a session.

With ``auto`` the first that works is used, in the order of :mod:`~infnet_runtime.backends.candidates`; log
and report say which, and why not the ones before it. A backend for the CPU that is installed and does not
work is warned of: the next one may be slower, and its masks differ in single pixels.

What is asked for by name is used or refused.
"""

import logging
from pathlib import Path

from infnet_runtime.backends.candidates import (
    AUTO,
    CPU,
    CUDA,
    ONNXRUNTIME,
    OPENVINO,
    TENSORRT,
    Candidate,
    candidates,
    is_engine,
    is_installed,
    nothing_installed,
)
from infnet_runtime.backends.compiled import compiled_models
from infnet_runtime.backends.cuda.driver import find_gpu
from infnet_runtime.backends.precision import F32, check_used
from infnet_runtime.backends.session import Session
from infnet_runtime.backends.suited_model import suited_model
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import BackendError, ModelError
from infnet_runtime.heap import give_back
from infnet_runtime.model.asked import NO_CLASSES, Asked
from infnet_runtime.model.shipped import named_model

logger = logging.getLogger(__name__)

_TRAINING_SUFFIXES = (".pth", ".pt", ".safetensors")


def open_session(
    model: Path | None = None,
    *,
    device: str = AUTO,
    threads: int = 0,
    backend: str = AUTO,
    batch_size: int | None = None,
    cache: bool = True,
    precision: str = AUTO,
    coarse: bool = False,
    asked: Asked = Asked.EVERY,
) -> Session:
    """Load a model.

    Parameters
    ----------
    model
        An ONNX file written by ``infnet-export``, or a TensorRT engine with its sidecar. Where absent,
        ``INFNET_MODEL``, else the shipped model that suits backend and device.
    device
        ``cpu``, ``cuda`` or ``cuda:N`` are used or refused; ``auto`` takes a CUDA device if one works.
    threads
        CPU threads; 0 takes what the machine gives this process.
    backend
        ``onnxruntime``, ``openvino`` or ``tensorrt`` are used or refused; ``auto`` takes the first that
        works, in the order of :mod:`~infnet_runtime.backends.candidates`.
    batch_size
        Slices that a GPU is prepared for at a time; where absent, what the engine was tuned for, or 4.
    cache
        Whether what OpenVINO or TensorRT for RTX compiled is kept for the next process, and read where it was
        (:mod:`~infnet_runtime.backends.compiled`).
    precision
        Of the layers that are not quantised: ``f32`` and ``bf16`` are used or refused; ``auto`` takes bf16 in
        OpenVINO where the processor has units for it and the file says that its masks stay the same.
    coarse
        Give coarse logits in the place of the probabilities they lead to, where the file has them: for masks,
        which need few of them enlarged.
    asked
        Outputs that are given; on a CPU, and by ONNX Runtime on a GPU, no other is computed.

    Raises
    ------
    ModelError
        If the model is missing, damaged or foreign.
    BackendError
        If the backend is not installed or the device is not there.
    """
    return open_chosen(
        model,
        device=device,
        threads=threads,
        backend=backend,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        coarse=coarse,
        asked=asked,
    )[0]


def open_chosen(
    model: Path | None = None,
    *,
    device: str = AUTO,
    threads: int = 0,
    backend: str = AUTO,
    batch_size: int | None = None,
    cache: bool = True,
    precision: str = AUTO,
    coarse: bool = False,
    asked: Asked = Asked.EVERY,
) -> tuple[Session, str]:
    """As :func:`open_session`, with what was chosen and why; empty where all was asked for by name.

    Raises
    ------
    ModelError, BackendError
        As of :func:`open_session`.
    """
    model = model or named_model()
    if model is not None:
        _check_kind(model)
    passed_over: list[str] = []
    possible = candidates(model, backend=backend, device=device, precision=precision)
    for candidate, after in zip(possible, [*possible[1:], None], strict=True):
        try:
            if device == AUTO and candidate.kind == CUDA and candidate.backend == ONNXRUNTIME:
                find_gpu(candidate.index)  # quicker than to let ONNX Runtime find out
            path, why = (model, "") if model else suited_model(candidate, precision=precision)
            session = open_candidate(
                candidate,
                path,
                threads=threads,
                batch_size=batch_size,
                cache=cache,
                precision=precision,
                coarse=coarse,
                asked=asked,
            )
        except (BackendError, ModelError) as error:
            # What one library does not take another may; the last says what is wrong with the model.
            if (
                after is None
                or error.code == NO_CLASSES
                or (isinstance(error, ModelError) and candidate.kind != CPU)
            ):
                raise
            passed_over.append(f"not {candidate}: {error.args[0]}")
            if candidate.kind == CPU:
                logger.warning("%s; going on with %s", passed_over[-1], after)
            continue
        if AUTO not in (device, backend) and model is not None:
            return session, ""
        told = [f"device {device}: {session.device}", f"backend {backend}: {session.backend}"]
        told += [f"model {path.name}{', ' * bool(why)}{why}", f"computing in {session.precision}"]
        told += passed_over
        logger.info("%s", "; ".join(told))
        return session, "; ".join(told)
    raise AssertionError("no candidates")


def open_candidate(
    candidate: Candidate,
    model: Path,
    *,
    threads: int = 0,
    batch_size: int | None = None,
    cache: bool = True,
    precision: str = AUTO,
    coarse: bool = False,
    asked: Asked = Asked.EVERY,
) -> Session:
    """Load a model on exactly this backend and device; parameters as of :func:`open_session`.

    Raises
    ------
    ModelError
        If the model is damaged or foreign.
    BackendError
        If the backend is not installed, the device is not there, or it computes in another precision.
    """
    session = _opened(
        candidate,
        model,
        threads or usable_cores(),
        batch_size,
        cache=cache,
        precision=precision,
        coarse=coarse,
        asked=asked,
    )
    check_used(session, precision)
    give_back()  # copies of the file, and what a graph is compiled with
    return session


def _opened(
    candidate: Candidate,
    model: Path,
    threads: int,
    batch_size: int | None,
    *,
    cache: bool,
    precision: str,
    coarse: bool,
    asked: Asked,
) -> Session:
    kept = compiled_models() if cache else None
    if candidate.backend == TENSORRT:
        from infnet_runtime.backends.tensorrt.session import TensorRtSession

        return TensorRtSession(
            model, index=candidate.index, batch_size=batch_size, kept=kept, coarse=coarse, asked=asked
        )
    if not is_installed(candidate.backend):
        raise nothing_installed(candidate.backend)
    if candidate.backend == OPENVINO:
        from infnet_runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(
            model,
            threads=threads,
            batch_size=batch_size,
            kept=kept,
            precision=precision,
            coarse=coarse,
            asked=asked,
        )
    try:
        from infnet_runtime.backends.ort.cpu import OrtSession
    except (ImportError, OSError) as error:
        raise BackendError(
            f"ONNX Runtime is installed and cannot be loaded ({error}): pip install --force-reinstall "
            "onnxruntime, or onnxruntime-gpu where you have that",
            code=5032,
        ) from error
    if candidate.kind == CPU:
        return OrtSession(model, threads=threads, batch_size=batch_size, coarse=coarse, asked=asked)
    from infnet_runtime.backends.ort.cuda import OrtCudaSession

    return OrtCudaSession(
        model, index=candidate.index, threads=threads, batch_size=batch_size, coarse=coarse, asked=asked
    )


def open_content(
    content: bytes,
    name: str,
    *,
    backend: str = ONNXRUNTIME,
    threads: int = 0,
    coarse: bool = False,
) -> Session:
    """Load a model that is not on disk yet, on the CPU, in single precision.

    Parameters
    ----------
    name
        Of the model, for messages.

    Raises
    ------
    ModelError
        If the model is damaged or foreign.
    BackendError
        If the backend is not installed.
    """
    threads = threads or usable_cores()
    if not is_installed(backend):
        raise nothing_installed(backend)
    if backend == OPENVINO:
        from infnet_runtime.backends.openvino import OpenVinoSession

        return OpenVinoSession(Path(name), threads=threads, content=content, precision=F32, coarse=coarse)
    from infnet_runtime.backends.ort.cpu import OrtSession

    return OrtSession(Path(name), threads=threads, content=content, coarse=coarse)


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
