"""Network input to probabilities, by the very backends that the runtime ships."""

from collections.abc import Callable

from infnet_export.proof.parity_report import Run
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.candidates import ONNXRUNTIME, OPENVINO
from infnet_runtime.backends.open import open_content
from infnet_runtime.backends.session import Outputs


def by_onnxruntime(content: bytes, name: str) -> Run:
    """ONNX Runtime on the CPU, opened at the first run.

    Parameters
    ----------
    content
        Of an ONNX file with its manifest.
    name
        Of the file, for messages.
    """
    return _at_first_run(lambda: open_content(content, name, backend=ONNXRUNTIME))


def by_openvino(content: bytes, name: str) -> Run:
    """OpenVINO on the CPU, opened at the first run; parameters as of :func:`by_onnxruntime`."""
    return _at_first_run(lambda: open_content(content, name, backend=OPENVINO))


def _at_first_run(open_: Callable[[], Session]) -> Run:
    opened: Session | None = None

    def run(slices: FloatArray) -> Outputs:
        nonlocal opened
        if opened is None:
            opened = open_()
        return opened.run(slices)

    return run
