"""The precision that layers compute in which are not quantised: asked for by name, or left to ``auto``."""

import logging
from pathlib import Path

from infnet_runtime.backends.session import Session
from infnet_runtime.errors import BackendError, ModelError
from infnet_runtime.model.arithmetic import BF16 as BF16_WORD
from infnet_runtime.model.arithmetic import FLOAT16, TF32
from infnet_runtime.model.facts import read_metadata
from infnet_runtime.model.judged import judgement
from infnet_runtime.model.manifest import ModelManifest

logger = logging.getLogger(__name__)

AUTO, F32, BF16 = "auto", "f32", "bf16"
PRECISIONS = (AUTO, F32, BF16)


def refuse_unknown(precision: str) -> None:
    """Refuse a name that is none.

    Raises
    ------
    BackendError
        Naming those that are.
    """
    if precision not in PRECISIONS:
        raise BackendError(
            f"precision '{precision}' is not known, expected {', '.join(PRECISIONS)}; another follows from "
            "the file, such as one of infnet-export --fp16 or --int8",
            code=5043,
        )


def no_bf16(what: str) -> BackendError:
    """The refusal of bfloat16 by what has no such setting."""
    return BackendError(
        f"precision bf16 was asked for, and {what} has no such setting; choose --backend openvino with "
        "--device cpu, or --precision auto",
        code=5041,
    )


def check_used(session: Session, precision: str) -> None:
    """Refuse a session that computes in less than the single precision that was asked for.

    Raises
    ------
    BackendError
        Saying what it computes in. The session is closed.
    """
    parts = session.precision.split(" + ")
    if precision == F32 and {FLOAT16, BF16_WORD, TF32} & set(parts):
        session.close()
        raise BackendError(
            f"precision f32 was asked for, and {session.backend} computes this model in {session.precision}; "
            "give the ONNX file in single precision, or choose --precision auto",
            code=5042,
        )


def choose(precision: str, *, able: bool, content: bytes, manifest: ModelManifest, model: Path) -> str:
    """The precision to state to a backend that has the setting.

    Parameters
    ----------
    able
        Whether the processor has units for bfloat16.
    content, model
        Of the file, and its name for messages.

    Raises
    ------
    BackendError
        If bf16 was asked for and the processor has no units for it.
    ModelError
        If it was asked for and the file has no record that it passed.
    """
    if precision == F32 or (precision == AUTO and not able):
        return F32
    if not able:
        raise BackendError(
            "precision bf16 was asked for, and this processor has no units for it: expected one with "
            "AVX-512-BF16 or AMX; choose --precision auto or f32",
            code=5040,
        )
    try:
        judgement(read_metadata(content), content, manifest, BF16, model)
    except ModelError as error:
        if precision == BF16:
            raise
        logger.info("precision auto: f32, %s", str(error))
        return F32
    return BF16
