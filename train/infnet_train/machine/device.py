"""Choice of the training device: exactly the one asked for, or an error."""

import logging

import torch

from infnet_runtime.errors import BackendError

logger = logging.getLogger(__name__)


def choose_device(name: str) -> str:
    """``auto`` takes a CUDA device if there is one and says what it took; a named device must be there.

    Raises
    ------
    BackendError
        If the device is unknown or not there.
    """
    if name == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        logger.info("device auto: %s", chosen)
        return chosen
    if name == "cpu":
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise BackendError(f"device '{name}' is not known, expected auto, cpu, cuda or cuda:N", code=5001)
    count = torch.cuda.device_count()
    if int(index or 0) >= count:
        raise BackendError(
            f"device '{name}' was asked for, this machine has {count} CUDA devices that PyTorch "
            f"{torch.__version__} can use; choose --device cpu or install a CUDA build of PyTorch",
            code=5002,
        )
    return name
