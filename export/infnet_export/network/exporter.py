"""What the export knows of one kind of network: all that depends on how it is built."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from infnet_export.precision.notes import PrecisionNotes
from infnet_runtime.model.manifest import OutputSpec
from infnet_train.networks import Network

INFECTION = (OutputSpec(),)
"""One map with the probability of infection."""

_NO_NOTES = PrecisionNotes()


def any_network(network: Network) -> str | None:
    """Nothing is wrong with it."""
    return None


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A kind of network.

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
        Precision that its parts need.
    refusal
        Why a network of this kind cannot be exported, after "holds", or None.
    """

    inference: Callable[[Network], nn.Module]
    probabilities: Callable[[Network, Tensor], Tensor | tuple[Tensor, ...]]
    outputs: tuple[OutputSpec, ...] = INFECTION
    notes: PrecisionNotes = _NO_NOTES
    refusal: Callable[[Network], str | None] = any_network
