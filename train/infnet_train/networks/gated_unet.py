"""Gated U-Net, a row of the paper's Table II: a very thin one with grid attention, 139,316 parameters.

Schlemper et al., "Attention gated networks", Medical Image Analysis 2019, after their public code
(``unet_CT_single_att_dsv`` of ozan-oktay/Attention-Gated-Networks) in two dimensions, with channels divided
by 16. The table has 175.093 K parameters and 714.419 M multiply-adds; no public variant that has exactly
these was found. This one has 139.316 K and 448.1 M (its convolutions at 352). The weights start as PyTorch
starts them, not Kaiming-normal.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.blocks import resize
from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of
from infnet_train.networks.unet_blocks import DoubleConv, go_down, way_down

_WIDTHS = (4, 8, 16, 32, 64)


class GridGate(nn.Module):
    """Weighs each place of a skip connection, at half its resolution, by a coarser signal."""

    def __init__(self, channels: int, signal_channels: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.signal = nn.Conv2d(signal_channels, channels, 1)
        self.weight = nn.Conv2d(channels, 1, 1)
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """(n, channels, h, w) and (n, signal_channels, h / 2, w / 2) -> (n, channels, h, w)."""
        weight = torch.sigmoid(self.weight(torch.relu(self.skip(skip) + self.signal(signal))))
        gated: Tensor = self.out(skip * resize(weight, 2))
        return gated


class GatedUNet(Network):
    """The thin U-Net with grid attention; its map is made of those of four scales.

    Parameters
    ----------
    in_channels
        Of the input.
    out_channels
        One for the infection, or the background and the classes.
    """

    entry = ("down.0.conv1",)

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        deepest, *widths = reversed(_WIDTHS)
        self.down = way_down(in_channels, _WIDTHS)
        self.signal = nn.Sequential(
            nn.Conv2d(deepest, deepest, 1), nn.BatchNorm2d(deepest), nn.ReLU(inplace=True)
        )
        self.gates = nn.ModuleList(GridGate(width, 2 * width) for width in widths[:-1])
        self.up = nn.ModuleList(DoubleConv(3 * width, width) for width in widths)
        self.heads = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in widths)
        self.head = nn.Conv2d(len(widths) * out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        finest, *skips, x = go_down(self.down, x)
        signal, maps = self.signal(x), []
        gated = [*zip(self.gates, reversed(skips), strict=True), (None, finest)]
        for (gate, skip), up, head in zip(gated, self.up, self.heads, strict=True):
            if gate is not None:
                skip = gate(skip, signal)
            signal = x = up(torch.cat([skip, resize(x, 2)], dim=1))
            maps.append(
                functional.interpolate(head(x), finest.shape[-2:], mode="bilinear", align_corners=False)
            )
        return outputs_of(self.head(torch.cat(maps, dim=1)))
