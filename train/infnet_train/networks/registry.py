"""The networks by name. Another one is a file in this folder and a line in ``NETWORKS``."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from infnet_train.errors import ConfigError
from infnet_train.networks.attention_unet import AttentionUNet
from infnet_train.networks.deeplab import DeepLab
from infnet_train.networks.dense_unet import DenseUNet
from infnet_train.networks.fcn8s import FCN8s
from infnet_train.networks.gated_unet import GatedUNet
from infnet_train.networks.inf_net import ALL_PARTS, InfNet, Part
from infnet_train.networks.inf_net_classes import InfNetClasses
from infnet_train.networks.interface import CLASSES, Network
from infnet_train.networks.multi_class_unet import MultiClassUNet
from infnet_train.networks.unet import UNet
from infnet_train.networks.unet_plus_plus import UNetPlusPlus

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
        _check_parts(self)
        _check_labels(self)

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
    "attention-unet": lambda config: AttentionUNet(config.in_channels, config.out_channels),
    "gated-unet": lambda config: GatedUNet(config.in_channels, config.out_channels),
    "dense-unet": lambda config: DenseUNet(config.in_channels, config.out_channels),
    "unet++": lambda config: UNetPlusPlus(config.in_channels, config.out_channels),
    "deeplabv3+-8": lambda config: DeepLab(config.in_channels, config.out_channels, stride=8),
    "deeplabv3+-16": lambda config: DeepLab(config.in_channels, config.out_channels, stride=16),
    "fcn8s": lambda config: FCN8s(config.in_channels, config.out_channels),
    "multi-class-unet": lambda config: MultiClassUNet(config.in_channels, config.out_channels),
}

_WITH_PARTS = ("inf-net",)
_INFECTION_ONLY = ("inf-net",)
_WITHOUT_PRIOR = ("inf-net", "inf-net-classes")


def build_network(config: NetworkConfig) -> Network:
    """A network with random weights."""
    return NETWORKS[config.network](config)


def _check_parts(config: NetworkConfig) -> None:
    if config.parts != ALL_PARTS and config.network not in _WITH_PARTS:
        raise ConfigError(
            f"parts is {', '.join(config.parts) or 'empty'}, and '{config.network}' has none, only "
            f"{', '.join(_WITH_PARTS)} has; leave parts out",
            code=3161,
        )


def _check_labels(config: NetworkConfig) -> None:
    if config.labels == "classes" and config.network in _INFECTION_ONLY:
        raise ConfigError(
            f"labels is 'classes', and '{config.network}' knows infection alone; take the network "
            "'inf-net-classes' or 'multi-class-unet'",
            code=3162,
        )
    if config.prior and config.network in _WITHOUT_PRIOR:
        raise ConfigError(
            f"'{config.network}' takes no prior: it finds the infection itself; leave prior out, or take "
            "'multi-class-unet'",
            code=3163,
        )
