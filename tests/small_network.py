"""Networks of two convolutions, for what asks how a run goes and not what Inf-Net computes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from infnet_train.networks import NETWORKS, ClassMaps, InfectionMap, Network, NetworkConfig

NAME = "plain"
CLASSES_NAME = "plain-classes"


class Plain(Network):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> InfectionMap:
        return InfectionMap(self.last(torch.relu(self.norm(self.first(x)))))


class PlainClasses(Network):
    """Two convolutions that tell classes apart, of slices with or without a prior."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> ClassMaps:
        return ClassMaps(self.last(torch.relu(self.norm(self.first(x)))))


MAKERS: dict[str, Callable[[NetworkConfig], Network]] = {
    NAME: lambda _config: Plain(),
    CLASSES_NAME: lambda config: PlainClasses(config.in_channels),
}


def register() -> None:
    """For good: of a process that a test has started."""
    NETWORKS.update(MAKERS)
