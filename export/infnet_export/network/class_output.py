"""The output that tells ground glass from consolidation, of any network that gives it."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infnet_export.network.exporter import Exporter
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_train.networks import Network

INFECTION_AND_CLASSES = (OutputSpec(), CLASS_OUTPUT)
"""Channels of the classes: background, and those of :data:`infnet_train.networks.CLASSES` in their order."""


class WithClasses(NamedTuple):
    """Logits at the size of the slices: (n, 1, h, w), and (n, 1 + classes, h, w)."""

    prediction: Tensor
    classes: Tensor


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


def as_trained_with_classes(network: Network) -> nn.Module:
    """A copy of a network with nothing rewritten; normalisations are folded when it is traced."""
    return ProbabilitiesWithClasses(copy.deepcopy(network).float().eval()).eval()


WITH_CLASSES = Exporter(
    inference=as_trained_with_classes,
    probabilities=probabilities_with_classes,
    outputs=INFECTION_AND_CLASSES,
)
"""For a network with classes of which nothing more is known."""
