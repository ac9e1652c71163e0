"""U-Net++ of the paper's Table II: 9,163,428 parameters (9.163 M) and 65.938 G multiply-adds.

Zhou et al., "UNet++: A Nested U-Net Architecture", DLMIA 2018, as the ``NestedUNet`` of
4uiiurz1/pytorch-nested-unet with deep supervision: only with its four heads are both numbers of the table
met (counted as THOP of 2020 did: convolutions with their biases, two for each normalised value, eleven for
each enlarged one). The convolutions alone have 65.211 G.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of
from infnet_train.networks.unet_blocks import WIDTHS, DoubleConv, twice

_DEPTH = len(WIDTHS)


class NestedMaps(NamedTuple):
    """The infection at four depths of the network, from shallow to deep, (n, 1, h, w) each."""

    depth1: Tensor
    depth2: Tensor
    depth3: Tensor
    depth4: Tensor

    @property
    def prediction(self) -> Tensor:
        """The deepest."""
        return self.depth4

    @property
    def classes(self) -> None:
        """It knows of none."""
        return

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """All four."""
        return self._asdict()

    @property
    def edge(self) -> None:
        """It draws none."""
        return

    def to_float(self) -> "NestedMaps":
        """The same in single precision."""
        return NestedMaps._make(map_.float() for map_ in self)


class UNetPlusPlus(Network):
    """The nested U-Net.

    Parameters
    ----------
    in_channels
        Of the input.
    out_channels
        One for the infection, with a head at each depth that learns (deep supervision), or the background
        and the classes, with a head at the deepest alone: the loss of the classes knows one map.
    """

    entry = ("nodes.0_0.conv1",)

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.nodes = nn.ModuleDict()
        for row, width in enumerate(WIDTHS):
            for column in range(_DEPTH - row):
                fed = width * column + WIDTHS[row + 1] if column else (in_channels, *WIDTHS)[row]
                self.nodes[f"{row}_{column}"] = DoubleConv(fed, width)
        heads = _DEPTH - 1 if out_channels == 1 else 1
        self.heads = nn.ModuleList(nn.Conv2d(WIDTHS[0], out_channels, 1) for _ in range(heads))

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        rows: list[list[Tensor]] = []
        for row in range(_DEPTH):
            fed = functional.max_pool2d(rows[row - 1][0], 2) if row else x
            rows.append([self.nodes[f"{row}_0"](fed)])
            for column in range(1, row + 1):  # up the diagonal: all that is fine enough by now
                here = rows[row - column]
                fed = torch.cat([*here, twice(rows[row - column + 1][column - 1])], dim=1)
                here.append(self.nodes[f"{row - column}_{column}"](fed))
        if len(self.heads) == 1:
            return outputs_of(self.heads[0](rows[0][-1]))
        return NestedMaps._make(head(node) for head, node in zip(self.heads, rows[0][1:], strict=True))
