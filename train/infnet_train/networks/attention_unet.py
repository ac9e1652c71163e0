"""Attention U-Net of the paper's Table II: 8,727,213 parameters (8.727 M) and 31.730 G multiply-adds.

Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, as the ``AttU_Net`` of
LeeJunHyun/Image_Segmentation with half the channels everywhere but inside the finest gate: with 32 there,
not 16, both numbers of the table are met (counted as THOP of 2020 did: convolutions with their biases and
two for each normalised value). The convolutions alone have 31.582 G.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of
from infnet_train.networks.unet_blocks import WIDTHS, DoubleConv, go_down, way_down

_INNER = (128, 64, 32, 32)
"""Channels inside the gates, from coarse to fine."""


class AttentionGate(nn.Module):
    """Weighs each place of a skip connection by what the coarser features say of it."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner))
        self.skip = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner))
        self.weight = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        """(n, channels, h, w) both -> ``skip`` times 0..1."""
        weight: Tensor = self.weight(torch.relu(self.gate(gate) + self.skip(skip)))
        return skip * weight


class AttentionUNet(Network):
    """The U-Net with a gate on each skip connection.

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
        self.down = way_down(in_channels, WIDTHS)
        widths = WIDTHS[-2::-1]
        self.enlarge = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
            for width in widths
        )
        self.gates = nn.ModuleList(
            AttentionGate(width, inner) for width, inner in zip(widths, _INNER, strict=True)
        )
        self.up = nn.ModuleList(DoubleConv(2 * width, width) for width in widths)
        self.head = nn.Conv2d(WIDTHS[0], out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        *skips, x = go_down(self.down, x)
        for enlarge, gate, up, skip in zip(self.enlarge, self.gates, self.up, reversed(skips), strict=True):
            x = enlarge(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = up(torch.cat([gate(x, skip), x], dim=1))
        return outputs_of(self.head(x))
