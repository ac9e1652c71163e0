"""A graph in ONNX Runtime on the CPU as it is: with any inputs and outputs, without a manifest.

For measurements inside a graph. What is shipped is run by the backends of the runtime.
"""

from typing import Any

import onnx

_QUIET = 4  # its errors are raised too


def raw_session(model: onnx.ModelProto, *, threads: int, exact_sums: bool = False) -> Any:  # noqa: ANN401 - untyped library
    """A session of ONNX Runtime on the CPU.

    Parameters
    ----------
    exact_sums
        Multiply and add quantised values in single precision, in place of the processor's 8-bit products.
    """
    # ONNX Runtime needs a while to load.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    if exact_sums:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
