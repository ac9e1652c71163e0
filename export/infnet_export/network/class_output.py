"""The output that tells ground glass from consolidation, of any network that gives it."""

import torch
from torch import Tensor, nn

from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.model.specs import CLASS_OUTPUT

INFECTION_AND_CLASSES = (OutputSpec(), CLASS_OUTPUT)
"""Channels of the classes: background, and those of :data:`infnet_train.networks.CLASSES` in their order."""


class ProbabilitiesWithClasses(nn.Module):
    """Probabilities of infection and classes of some slices, and nothing else.

    Parameters
    ----------
    network
        Gives logits: ``prediction`` and ``classes`` of :class:`~infnet_train.networks.Outputs`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, h, w) -> (n, 1, h, w) and (n, 1 + classes, h, w)."""
        return probabilities_with_classes(self.network, slices)


def probabilities_with_classes(network: nn.Module, slices: Tensor) -> tuple[Tensor, Tensor]:
    """Slices through a network, (n, channels, h, w) -> (n, 1, h, w) and (n, 1 + classes, h, w)."""
    outputs = network(slices)
    return torch.sigmoid(outputs.prediction), torch.softmax(outputs.classes, dim=1)
