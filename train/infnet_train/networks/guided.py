"""A network that is given where the infection is: the paper's second step (section III-F).

The probability of infection stands beside the slice as three more channels, normalised as a slice is. The
released code does the same with maps of 8 bit that were saved before.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from infnet_train.networks.interface import Network, Outputs

Channels = tuple[float, float, float]


def beside(images: Tensor, prior: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Input of a network with a prior.

    Parameters
    ----------
    images : (n, 3, h, w)
        Normalised slices.
    prior : (n, 1, h, w), 0..1
        Probability of infection.
    mean, std
        Of the normalisation of the slices.

    Returns
    -------
    (n, 6, h, w)

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    """
    n, channels, height, width = images.shape
    if channels != len(mean) or prior.shape != (n, 1, height, width):
        raise ValueError(
            f"slices are {tuple(images.shape)}, their prior is {tuple(prior.shape)}; expected "
            "(n, 3, h, w) and (n, 1, h, w)"
        )
    of_channels = (images.new_tensor(values)[:, None, None] for values in (mean, std))
    shift, scale = of_channels
    return torch.cat([images, (prior.to(images.dtype) - shift) / scale], dim=1)


class GuidedOutputs(NamedTuple):
    """Infection of the first network, (n, 1, h, w), and classes of the second, (n, 3, h, w)."""

    prediction: Tensor
    classes: Tensor

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """The first network is not trained any more."""
        return {}

    @property
    def edge(self) -> None:
        """It is not looked at."""
        return

    def to_float(self) -> "GuidedOutputs":
        """The same in single precision."""
        return GuidedOutputs(self.prediction.float(), self.classes.float())


class Guided(Network):
    """A network that finds the infection, and one that is given it beside the slice: slices in, both out.

    Parameters
    ----------
    infection
        Takes slices.
    second
        Takes slices and their prior.
    mean, std
        Of the normalisation of the slices, for both.
    """

    def __init__(self, infection: Network, second: Network, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.infection, self.second = infection, second
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch of slices, (n, 3, h, w)."""
        found = self.infection(x).prediction.float()
        said: Outputs = self.second(beside(x, torch.sigmoid(found), self.mean, self.std))
        return said if said.classes is None else GuidedOutputs(found, said.classes)
