"""What a network is to everything that trains, evaluates and stores one."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Outputs(Protocol):
    """What a network says of a batch: logits at input size, (n, 1, h, w) each."""

    @property
    def prediction(self) -> Tensor:
        """The map that is evaluated and exported."""
        ...

    @property
    def infection_maps(self) -> Mapping[str, Tensor]:
        """All maps that are compared with the mask, each once, by name; the prediction among them."""
        ...

    @property
    def edge(self) -> Tensor | None:
        """The map that is compared with the edge of the mask, if the network has one."""
        ...

    def to_float(self) -> "Outputs":
        """The same in single precision, for the losses."""
        ...


class Network(nn.Module):
    """A segmentation network of one slice: an interface, because a module cannot be a protocol.

    Which slices it takes is said by ``infnet_runtime.slices.preprocess``; sides are multiples of 32.
    """

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, 3, h, w)."""
        raise NotImplementedError
