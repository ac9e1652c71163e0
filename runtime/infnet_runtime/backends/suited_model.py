"""Which of the shipped models a backend runs on a device, and why.

The 8-bit one is taken where it was measured to be faster and passed the gate that lets it be shipped
(``benchmarks/choice.py``, ``docs/performance.md``), and on the CPU alone. A GPU takes the FP16 form, if one
lies beside the shipped model that says of itself that its masks and millilitres passed.
"""

from pathlib import Path

from infnet_runtime.backends.candidates import CPU, OPENVINO, Candidate
from infnet_runtime.backends.precision import AUTO, F32
from infnet_runtime.cpu import int8_unit
from infnet_runtime.instructions import cpu_flags
from infnet_runtime.model.half import passed_half
from infnet_runtime.model.shipped import DEFAULT_INT8_MODEL, default_model, named_model

# Without a unit for 8-bit products, AVX2 adds pairs of them in 16 bits, which may saturate. With the shipped
# model that is rare: it passes the gate there too, in 0.55 times the time of single precision.
_ALSO_WITH = {OPENVINO: "avx2"}
# On ARM the library computes 8-bit models in float.
_NOT_WITH = {OPENVINO: "asimddp"}


def suited_model(candidate: Candidate, *, precision: str = AUTO) -> tuple[Path, str]:
    """The model that is used where none is given, and why it and no other.

    Parameters
    ----------
    precision
        With ``f32`` the FP16 form is left alone.

    Returns
    -------
    Its file, and the reason; empty where the environment names the model.

    Raises
    ------
    ModelError
        If there is none, or the FP16 form is damaged.
    """
    if named_model() is not None:
        return default_model(), ""
    if candidate.kind != CPU:
        return _on_gpu(precision)
    unit = _unit(candidate.backend)
    model = default_model(int8=unit is not None)
    if unit is None:
        return model, f"the processor has no unit for 8-bit products that {candidate.backend} uses"
    if model.name != DEFAULT_INT8_MODEL:
        return model, "no 8-bit model was shipped"
    return model, f"the processor has {unit}"


def _on_gpu(precision: str) -> tuple[Path, str]:
    """The FP16 form where one that passed lies beside the shipped model."""
    plain = default_model()
    if precision == F32:
        return plain, "single precision was asked for"
    half, why = passed_half(plain)
    return half or plain, why


def _unit(backend: str) -> str | None:
    """What multiplies bytes for a backend on this processor."""
    unit = int8_unit()
    if unit is not None and unit != _NOT_WITH.get(backend):
        return unit
    also = _ALSO_WITH.get(backend)
    return also if also in cpu_flags() else None
