"""ONNX Runtime on the CPU: the reference that every other backend is compared with."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.session import ClosedByBlock, Outputs, closed, failed
from infnet_runtime.heap import give_back
from infnet_runtime.home import Home
from infnet_runtime.model.arithmetic import FLOAT32, computed_in, form_of
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.coarse_logits import OutputShapes, outputs_given
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.recognise import recognised
from infnet_runtime.model.signature import FLOAT, Port, check_signature, damaged

CPU_PROVIDER = "CPUExecutionProvider"
ort.disable_telemetry_events()  # of its builds for Windows; nothing elsewhere

_BATCH_SIZE = 2  # on the CPU as fast as 1 and 4, and 54 MiB smaller than 4
_QUIET = 4  # on descriptor 2 the library warns about what is checked here, and repeats errors that it raises
_FLOAT = "tensor(float)"
ARM_BF16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


class OrtSession(ClosedByBlock):
    """A model in ONNX Runtime; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Calls from several threads run side by side.

    Parameters
    ----------
    content
        Of the file, where it has none yet; ``model`` then names it in messages.
    coarse
        Give coarse logits in the place of the probabilities, where the file has them.
    asked
        Outputs that are given.

    Raises
    ------
    ModelError
        If the file is no ONNX model, has no manifest or other inputs and outputs than the contract.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        batch_size: int | None = None,
        content: bytes | None = None,
        coarse: bool = False,
        asked: Asked = Asked.EVERY,
    ) -> None:
        self._home = Home(self)
        content = read_whole(model) if content is None else content
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        self.device = "cpu"
        self.batch_size = batch_size or _BATCH_SIZE
        file = recognised(content, model).only(asked, model)
        self.manifest = file.manifest
        self.coarse = file.coarse if coarse else None
        self._outputs = outputs_given(self.manifest, self.coarse)
        self.precision = computed_in(form_of(content), FLOAT32)
        content = file.cut(content, self.coarse)
        session = create(content, model, session_options(threads), [CPU_PROVIDER])
        self.backend = f"onnxruntime {ort.__version__} ({session.get_providers()[0]})"
        self._input = check_contract(session, self.manifest, model, self._outputs)
        self._session: Any = session

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        self._home.check()
        session = self._session
        if session is None:
            raise closed()
        try:
            return run_plainly(session, self._outputs, {self._input: batch})
        except Exception as error:  # its exceptions have no common base of their own
            raise failed(self, error) from error

    def close(self) -> None:
        """Release the model."""
        if self._home.is_here:
            self._session = None
            give_back()


def session_options(threads: int) -> Any:  # noqa: ANN401 - untyped library
    """Options that all sessions share."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.use_deterministic_compute = True
    # Waiting threads sleep. By default they spin, which took a third more time where others use the cores too
    # (2 busy cores: 1250 ms a slice against 930 ms), and is time taken from the stages beside the network.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Products of ARM processors in bfloat16: off by default, and never to come unasked.
    options.add_session_config_entry(ARM_BF16, "0")
    return options


def create(content: bytes, model: Path, options: Any, providers: list[Any]) -> Any:  # noqa: ANN401 - untyped
    """Load a model from bytes: nothing outside the file can be loaded, and the hash is that of what runs.

    Raises
    ------
    ModelError
        If ONNX Runtime does not take it.
    """
    try:
        return ort.InferenceSession(content, options, providers=providers)
    except Exception as error:  # its exceptions have no common base of their own
        raise damaged(model, error) from error


def run_plainly(session: Any, outputs: Iterable[str], inputs: dict[str, FloatArray]) -> Outputs:  # noqa: ANN401 - untyped
    """Run a batch, with memory of ONNX Runtime's own."""
    names = list(outputs)
    return dict(zip(names, session.run(names, inputs), strict=True))


def check_contract(session: Any, manifest: ModelManifest, model: Path, promised: OutputShapes) -> str:  # noqa: ANN401 - untyped library
    """Inputs and outputs again, now with what the library found out about the sizes inside.

    Parameters
    ----------
    promised
        The outputs that there must be.

    Returns
    -------
    The name of the input.

    Raises
    ------
    ModelError
        If the model does not keep the promise of its manifest.
    """
    inputs, outputs = (
        [Port(name=p.name, dtype=FLOAT if p.type == _FLOAT else p.type, shape=tuple(p.shape)) for p in ports]
        for ports in (session.get_inputs(), session.get_outputs())
    )
    return check_signature(inputs, outputs, manifest, model, promised=promised)


def lungs_in_onnxruntime(content: bytes, model: Path) -> Callable[[FloatArray], FloatArray]:
    """What runs a lung network, on one thread; parameters as of :func:`create`.

    Raises
    ------
    ModelError
        If ONNX Runtime does not take it.
    """
    session = create(content, model, session_options(1), [CPU_PROVIDER])
    source = session.get_inputs()[0].name

    def run(batch: FloatArray) -> FloatArray:
        (found,) = session.run(None, {source: batch})
        return np.asarray(found, np.float32)

    return run
