"""ONNX Runtime, on the CPU or on CUDA. The only file that imports it."""

import hashlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.manifest import METADATA_KEY, ManifestError, ModelManifest

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

_QUIET = 3  # errors only; the library warns on stderr about what is checked here


class OrtSession:
    """A model in ONNX Runtime; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Raises
    ------
    ModelError
        If the file is no ONNX model, has no manifest or other inputs and outputs than the contract.
    BackendError
        If the device is unknown or cannot be used; there is no silent fall-back to the CPU.
    """

    def __init__(self, model: Path, *, device: str, threads: int) -> None:
        kind, _, index = device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
            raise BackendError(
                f"device '{device}' is not known, expected auto, cpu, cuda or cuda:N", code=5001
            )
        content = model.read_bytes()
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        self.backend = f"onnxruntime {ort.__version__}"
        self._session = _create(content, model, kind, int(index or 0), threads)
        on_cuda = "CUDAExecutionProvider" in self._session.get_providers()
        self.device = f"cuda:{index or 0}" if on_cuda else "cpu"
        if kind == "auto":
            logger.info("device auto: %s", self.device)
        self.manifest = _manifest(self._session, model)
        self._input = _check_signature(self._session, self.manifest, model)

    def run(self, batch: FloatArray) -> FloatArray:
        """Run one batch (n, 3, size, size) -> (n, 1, size, size)."""
        try:
            output: FloatArray = self._session.run([self.manifest.output.name], {self._input: batch})[0]
        except Exception as error:  # its exceptions have no common base of their own
            raise GateError(f"{self.backend} failed on {self.device}: {error}", code=7021) from error
        return output

    def close(self) -> None:
        """Release the model."""
        self._session = None

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _create(content: bytes, model: Path, kind: str, index: int, threads: int) -> Any:  # noqa: ANN401 - untyped
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    providers: list[Any] = ["CPUExecutionProvider"]
    offers_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if kind == "cuda" and not offers_cuda:
        raise BackendError(
            f"device 'cuda' was asked for, the installed onnxruntime {ort.__version__} has no CUDA; "
            "pip uninstall onnxruntime, then pip install 'infnet[gpu]'",
            code=5011,
        )
    if offers_cuda and kind != "cpu":
        ort.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index}))
    try:
        # From bytes: nothing outside this file can be loaded, and the hash is that of what runs.
        session = ort.InferenceSession(content, options, providers=providers)
    except Exception as error:  # its exceptions have no common base of their own
        raise ModelError(
            f"{model} cannot be loaded as an ONNX model ({str(error).splitlines()[0]}); it is damaged, keeps "
            "weights in other files, or is of another kind; export it again with infnet-export",
            code=4031,
        ) from error
    if kind == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise BackendError(
            f"device 'cuda:{index}' was asked for, ONNX Runtime could not use it and would run on the CPU; "
            "check the driver (r580 or newer), CUDA and cuDNN, or choose --device cpu",
            code=5012,
        )
    return session


def _manifest(session: Any, model: Path) -> ModelManifest:  # noqa: ANN401 - untyped library
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ManifestError(
            f"{model} is an ONNX model without '{METADATA_KEY}': it does not say how slices are prepared. "
            "Only models written by infnet-export are run",
            code=4020,
        )
    return ModelManifest.from_json(text, source=str(model))


def _check_signature(session: Any, manifest: ModelManifest, model: Path) -> str:  # noqa: ANN401 - untyped
    inputs, outputs = session.get_inputs(), session.get_outputs()
    size = manifest.preprocess.size
    found = [(i.type, i.shape[1:]) for i in inputs]
    if found != [("tensor(float)", [3, size, size])] or [o.name for o in outputs] != [manifest.output.name]:
        raise ModelError(
            f"{model} takes {found} and gives {[o.name for o in outputs]}, its manifest promises one float "
            f"input (n, 3, {size}, {size}) and '{manifest.output.name}'; export it again with infnet-export",
            code=4033,
        )
    return str(inputs[0].name)
