"""The network that finds the lungs, on the CPU, beside whatever runs the main model.

It is small: one thread is enough, and the order of slices and their number change no byte of a result. The
file is checked at once and opened when the first lungs are looked for.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.candidates import CPU, ONNXRUNTIME, OPENVINO, is_installed, preferred
from infnet_runtime.backends.compiled import compiled_models
from infnet_runtime.backends.session import ClosedByBlock, closed
from infnet_runtime.cancel import in_turn
from infnet_runtime.errors import BackendError, GateError, ModelError
from infnet_runtime.home import Home
from infnet_runtime.lungs.contract import LUNG_METADATA_KEY, LUNG_OUTPUT, LungManifest
from infnet_runtime.model.facts import OnnxFacts, read_facts
from infnet_runtime.model.shipped import LUNG_MODEL, lung_model
from infnet_runtime.model.signature import FLOAT

logger = logging.getLogger(__name__)

AUTO, NETWORK, THRESHOLD = "auto", "network", "threshold"
WAYS = (AUTO, NETWORK, THRESHOLD)

BATCH_SIZE = 2
_ROUNDING = 1e-3  # of a probability


class LungNetwork(ClosedByBlock):
    """The file of a lung network; :meth:`run` may be called from several threads, one after another.

    Parameters
    ----------
    model
        The file.
    backend
        ``onnxruntime`` or ``openvino``.
    cache
        Whether what OpenVINO compiled is kept, as of ``open_session``.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or no lung network.
    """

    def __init__(self, model: Path, backend: str, *, cache: bool = True) -> None:
        self._home = Home(self)
        self._model, self.backend, self._cache = model, backend, cache
        content = _read(model)
        self.manifest = _checked(content, model)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._content: bytes | None = content
        self._run: Callable[[FloatArray], FloatArray] | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def name(self) -> str:
        """Name and version, as the report gives them."""
        return f"{self.manifest.name} {self.manifest.version}"

    def run(self, batch: FloatArray) -> FloatArray:
        """Grey (n, 3, size, size) -> probabilities (n, 2, size, size) of the right and of the left lung.

        Raises
        ------
        ModelError
            If the network was closed, or the backend cannot load it.
        BackendError
            If the backend cannot be loaded, or this process was forked from the one that loaded it.
        GateError
            If it gives anything but probabilities.
        """
        self._home.check()
        with in_turn(self._one_at_a_time):
            if self._run is None:
                if self._content is None:
                    raise closed()
                self._run = _opened(self._content, self._model, self.backend, cache=self._cache)
                self._content = None
                logger.info("lungs by %s on %s", self.name, self.backend)
            try:
                found = self._run(batch)
            except Exception as error:  # the exceptions of the backends have no common base
                raise GateError(
                    f"{self.backend} failed on the lung network {self._model}: "
                    f"{' '.join(str(error).split())[:500]}; find the lungs with --lungs-by threshold",
                    code=7021,
                ) from error
        if not ((found >= -_ROUNDING) & (found <= 1 + _ROUNDING)).all():  # false for NaN
            raise GateError(
                f"the lung network {self._model} gave values on {self.backend} that are no probabilities; "
                "use another backend, or find the lungs with --lungs-by threshold",
                code=7020,
            )
        return found

    def close(self) -> None:
        """Release it."""
        if self._home.is_here:
            with self._one_at_a_time:
                self._run = self._content = None


def lung_network(lungs_by: str = AUTO, *, beside: str = "", cache: bool = True) -> LungNetwork | None:
    """What finds the lungs besides thresholds, as it was asked for; nothing where thresholds alone do.

    Parameters
    ----------
    lungs_by
        ``network`` is used or refused; ``auto`` takes it where its file is there and something is installed
        that runs it; ``threshold`` does without.
    beside
        The backend that runs the main model, which is taken for both if it can run on the CPU.
    cache
        As of :class:`LungNetwork`.

    Raises
    ------
    BackendError
        If nothing is installed that runs it on the CPU, or the word is not known.
    ModelError
        If the file is missing, damaged, or no lung network.
    """
    if lungs_by not in WAYS:
        raise BackendError(f"lungs by '{lungs_by}' are not known, expected {', '.join(WAYS)}", code=5033)
    if lungs_by == THRESHOLD:
        return None
    model, backend = lung_model(), _backend(beside)
    if lungs_by == AUTO and (model is None or backend is None):
        missing = f"no {LUNG_MODEL} was shipped" if model is None else "no backend for the CPU is installed"
        logger.info("lungs by threshold: %s", missing)
        return None
    if model is None:
        raise ModelError(
            f"lungs by network were asked for, and no {LUNG_MODEL} was shipped with this installation; name "
            "one with INFNET_LUNG_MODEL, or find the lungs with --lungs-by threshold",
            code=4035,
        )
    if backend is None:
        raise BackendError(
            "lungs by network were asked for, and nothing is installed that runs the network on the CPU: pip "
            "install 'infnet[cpu]', or find the lungs with --lungs-by threshold",
            code=5034,
        )
    return LungNetwork(model, backend, cache=cache)


def _backend(beside: str) -> str | None:
    """That of the main model where it computes on the CPU too, else the best that is installed."""
    named = [name for name in (OPENVINO, ONNXRUNTIME) if beside.startswith(name)]
    usual = [name for name, kind in preferred() if kind == CPU]
    return next(filter(is_installed, (*named, *usual)), None)


def _read(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelError(
            f"no lung network at {model} ({error.strerror or error}); check INFNET_LUNG_MODEL, or reinstall "
            "infnet",
            code=4030,
        ) from error


def _checked(content: bytes, model: Path) -> LungManifest:
    """What the file says of itself, held against its inputs and outputs."""
    try:
        facts = read_facts(content)
    except ValueError as error:
        raise ModelError(
            f"{model} is no ONNX file, or cut off ({error}), expected a lung network; copy it again",
            code=4031,
        ) from error
    if LUNG_METADATA_KEY not in facts.metadata:
        raise ModelError(
            f"{model} is no lung network of infnet, it lacks '{LUNG_METADATA_KEY}'; give one of "
            "infnet-export lungs",
            code=4020,
        )
    manifest = LungManifest.from_json(facts.metadata[LUNG_METADATA_KEY], str(model))
    size = manifest.spec.size
    if not _promised(facts, size):
        takes, gives = (", ".join(map(str, ports)) for ports in (facts.inputs, facts.outputs))
        raise ModelError(
            f"{model} takes {takes} and gives {gives}, its manifest promises (n, 3, {size}, {size}) and "
            f"'{LUNG_OUTPUT}' (n, 2, {size}, {size}); export it again",
            code=4033,
        )
    return manifest


def _promised(facts: OnnxFacts, size: int) -> bool:
    if len(facts.inputs) != 1 or [port.name for port in facts.outputs] != [LUNG_OUTPUT]:
        return False
    ports = (facts.inputs[0], 3), (facts.outputs[0], 2)
    return all(
        port.dtype == FLOAT and port.shape is not None and port.shape[1:] == (channels, size, size)
        for port, channels in ports
    )


def _opened(content: bytes, model: Path, backend: str, *, cache: bool) -> Callable[[FloatArray], FloatArray]:
    if backend == OPENVINO:
        from infnet_runtime.backends.openvino import lungs_in_openvino

        return lungs_in_openvino(content, model, compiled_models() if cache else None)
    from infnet_runtime.backends.ort.cpu import lungs_in_onnxruntime

    return lungs_in_onnxruntime(content, model)
