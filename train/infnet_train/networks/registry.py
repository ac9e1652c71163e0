"""The networks by name. Another one is a file in this folder and a line in ``NETWORKS``."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from infnet_train.errors import ConfigError
from infnet_train.networks.inf_net import ALL_PARTS, InfNet, Part
from infnet_train.networks.inf_net_classes import InfNetClasses
from infnet_train.networks.interface import CLASSES, Network
from infnet_train.networks.unet import UNet

Labels = Literal["infection", "classes"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network is trained.

    Parameters
    ----------
    network
        A name in ``NETWORKS``.
    parts
        Parts of Inf-Net on top of the backbone; fewer than all is a row of the paper's ablation (Table IV),
        see :class:`~infnet_train.networks.InfNet` for what replaces the others.
    labels
        What it tells apart: ``infection`` from all else, or the ``classes`` ground glass and consolidation.
    prior
        Whether it is given the probability of infection beside the slice, in three more channels.
    """

    network: str = "inf-net"
    parts: tuple[Part, ...] = ALL_PARTS
    labels: Labels = "infection"
    prior: bool = False

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            near = difflib.get_close_matches(self.network, NETWORKS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(NETWORKS))}"
            raise ConfigError(f"there is no network '{self.network}'; {hint}", code=3101)

    @property
    def in_channels(self) -> int:
        """Of the input."""
        return 6 if self.prior else 3

    @property
    def out_channels(self) -> int:
        """One for the infection, or the background and each class."""
        return 1 if self.labels == "infection" else 1 + len(CLASSES)


NETWORKS: dict[str, Callable[[NetworkConfig], Network]] = {
    "inf-net": lambda config: InfNet(config.parts),
    "inf-net-classes": lambda _config: InfNetClasses(),
    "unet": lambda config: UNet(config.in_channels, config.out_channels),
}


def build_network(config: NetworkConfig) -> Network:
    """A network with random weights."""
    return NETWORKS[config.network](config)
