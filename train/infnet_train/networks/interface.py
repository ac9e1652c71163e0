"""What a network is to everything that trains, evaluates and stores one."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

CLASSES = ("ground_glass", "consolidation")
"""What a network that tells classes apart says of infection; channel 0 of its logits is the background."""

INPUT_MULTIPLE = 32
"""Sides of a slice are multiples of this for every network."""


class Outputs(Protocol):
    """What a network says of a batch: logits at input size, (n, 1, h, w) each."""

    @property
    def prediction(self) -> Tensor:
        """The map of the infection that is evaluated and exported."""
        ...

    @property
    def classes(self) -> Tensor | None:
        """Background and each of :data:`CLASSES`, (n, 1 + classes, h, w), if the network tells them apart."""
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


class InfectionMap(NamedTuple):
    """What a network says that has one map and no side outputs, (n, 1, h, w)."""

    prediction: Tensor

    @property
    def classes(self) -> None:
        """It knows of none."""
        return

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """The prediction."""
        return {"prediction": self.prediction}

    @property
    def edge(self) -> None:
        """It draws none."""
        return

    def to_float(self) -> "InfectionMap":
        """The same in single precision."""
        return InfectionMap(self.prediction.float())


class ClassMaps(NamedTuple):
    """What a network says that tells classes apart and nothing else, (n, 1 + classes, h, w)."""

    classes: Tensor

    @property
    def prediction(self) -> Tensor:
        """Logit of the infection, (n, 1, h, w): of all classes against the background."""
        infected = torch.logsumexp(self.classes[:, 1:], dim=1, keepdim=True)
        return infected - self.classes[:, :1]

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """None is compared with the mask: the classes are, with their labels."""
        return {}

    @property
    def edge(self) -> None:
        """It draws none."""
        return

    def to_float(self) -> "ClassMaps":
        """The same in single precision."""
        return ClassMaps(self.classes.float())


class Network(nn.Module):
    """A segmentation network of one slice: an interface, because a module cannot be a protocol.

    Which slices it takes is said by ``infnet_runtime.slices.preprocess``; sides are multiples of 32. A
    network with a prior takes three more channels: the probability of infection three times, 0..1 normalised
    as a slice is.

    Attributes
    ----------
    begins_without
        Parts that weights to start from need not have.
    entry
        Names of the one convolution that sees the slice and, if it has no bias, of the normalisation after
        it. A network that says it can go on with the neighbours of a slice where it was given copies.
    """

    begins_without: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, 3, h, w), or (n, 6, h, w) with a prior."""
        raise NotImplementedError


def outputs_of(logits: Tensor) -> Outputs:
    """What a network says that ends in one layer: the infection map, or background and classes."""
    return InfectionMap(logits) if logits.shape[1] == 1 else ClassMaps(logits)


def check_size(x: Tensor) -> None:
    """Refuse slices of a size that no network takes.

    Raises
    ------
    ValueError
        If height or width is not a multiple of 32.
    """
    height, width = x.shape[-2:]
    if height % INPUT_MULTIPLE or width % INPUT_MULTIPLE:
        raise ValueError(
            f"slices are {height} x {width}, expected multiples of {INPUT_MULTIPLE}: "
            "resize them before the network"
        )
