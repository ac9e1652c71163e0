"""A model in ONNX Runtime whose quantised layers add as processors with 8-bit units do, on any processor.

An older x86 processor adds 8-bit products in 16 bits, which saturate: what it gives says nothing about the
others. Here quantised values are multiplied and added in single precision, which holds such sums.
"""

import hashlib
from pathlib import Path

import onnx

from infnet_export.graph.raw_session import raw_session
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.ort.cpu import run_plainly
from infnet_runtime.backends.session import ClosedByBlock, Outputs
from infnet_runtime.cpu import usable_cores
from infnet_runtime.model.coarse_logits import outputs_given
from infnet_runtime.model.recognise import recognised


class ExactSession(ClosedByBlock):
    """A model for a comparison; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Parameters
    ----------
    content
        Of the file.
    name
        Of the file, for messages.
    precision
        What the graph computes in or imitates, in words.

    Raises
    ------
    ModelError
        If the file is no model of infnet.
    """

    def __init__(self, content: bytes, name: str, *, precision: str) -> None:
        self.manifest, self.coarse = recognised(content, Path(name)).manifest, None
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        self.backend, self.device, self.precision = "onnxruntime, exact sums", "cpu", precision
        self.batch_size = 1
        model = onnx.load_model_from_string(content)
        self._session = raw_session(model, threads=usable_cores(), exact_sums=True)
        (self._input,) = (i.name for i in self._session.get_inputs())

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        return run_plainly(self._session, outputs_given(self.manifest), {self._input: batch})

    def close(self) -> None:
        """Release the model."""
        self._session = None
