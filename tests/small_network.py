"""A network of two convolutions, for what asks how a run goes and not what Inf-Net computes."""

import torch
from torch import Tensor, nn

from infnet_train.networks import NETWORKS, InfectionMap, Network

NAME = "plain"


class Plain(Network):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> InfectionMap:
        return InfectionMap(self.last(torch.relu(self.norm(self.first(x)))))


def register() -> None:
    """For good: of a process that a test has started."""
    NETWORKS[NAME] = lambda _config: Plain()
