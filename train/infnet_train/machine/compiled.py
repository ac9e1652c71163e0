"""A network through ``torch.compile``, where that works; else the network itself, and the log says why."""

import logging
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)


class CompiledOrPlain(nn.Module):
    """Calls the compiled network, and the plain one from the first failure of the compiler on.

    Parameters
    ----------
    network
        Shares its weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._compiled: Any = None
        try:
            self._compiled = torch.compile(network)
        except RuntimeError as error:
            _log(error)

    def forward(self, images: torch.Tensor) -> Any:  # noqa: ANN401 - what the network gives
        """As the network."""
        if self._compiled is not None:
            try:
                return self._compiled(images)
            except RuntimeError as error:
                _log(error)
                self._compiled = None
        return self.network(images)


def _log(error: RuntimeError) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    logger.warning("torch.compile does not work here (%s); the network runs without it", reason)
