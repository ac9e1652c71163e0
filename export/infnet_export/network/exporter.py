"""What the export knows of one kind of network: all that depends on how it is built."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infnet_export.precision.notes import PrecisionNotes
from infnet_runtime.model.manifest import OutputSpec
from infnet_train.networks import Network

INFECTION = (OutputSpec(),)
"""One map with the probability of infection."""


class InfectionProbability(nn.Module):
    """Infection probability of some slices, and nothing else.

    Parameters
    ----------
    network
        Becomes the attribute ``network``.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 1, h, w), probabilities."""
        return infection_probability(self.network, slices)


def infection_probability(network: Network, slices: Tensor) -> Tensor:
    """Slices through a network, (n, channels, h, w) -> (n, 1, h, w)."""
    return torch.sigmoid(network(slices).prediction)


def as_trained(network: Network) -> nn.Module:
    """A copy of a network with nothing rewritten; normalisations are folded when it is traced."""
    return InfectionProbability(copy.deepcopy(network).float().eval()).eval()


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A kind of network; with nothing said, any that gives one map of the infection.

    Parameters
    ----------
    inference
        The network rewritten for inference, in single precision and evaluation mode: slices
        (n, channels, h, w) -> probabilities, one tensor, or a tuple of them in the order of ``outputs``. The
        network stays as it is. What is inside an attribute ``network`` gives its names to the nodes.
    probabilities
        Slices through the network as it was trained, in any precision -> the same.
    outputs
        What it gives; threshold and temperature of the infection are those of the person who exports.
    notes
        Precision that its parts need; None leaves that to what the graph shows and to measurement.
    """

    inference: Callable[[Network], nn.Module] = as_trained
    probabilities: Callable[[Network, Tensor], Tensor | tuple[Tensor, ...]] = infection_probability
    outputs: tuple[OutputSpec, ...] = INFECTION
    notes: PrecisionNotes | None = None
