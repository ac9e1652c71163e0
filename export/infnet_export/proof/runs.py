"""Network input to probabilities, by the programs that run an exported file."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from infnet_export.graph.raw_session import raw_session
from infnet_export.proof.parity_report import Run
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.openvino import load_openvino
from infnet_runtime.cpu import usable_cores


def by_onnxruntime(content: bytes, output: str) -> Run:
    """ONNX Runtime on the CPU, opened at the first run."""
    session: Any = None

    def run(slices: FloatArray) -> npt.NDArray[np.floating]:
        nonlocal session
        if session is None:
            session = raw_session(onnx.load_model_from_string(content), threads=usable_cores())
        (source,) = (i.name for i in session.get_inputs())
        return np.asarray(session.run([output], {source: slices})[0])

    return run


def by_openvino(content: bytes) -> Run:
    """OpenVINO on the CPU, in single precision."""
    core = load_openvino().Core()
    # Left alone it takes bfloat16 on processors that have it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_cores()}
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    return lambda slices: np.asarray(compiled([slices])[0])
