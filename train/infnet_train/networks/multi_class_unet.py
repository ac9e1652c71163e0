"""The U-Net that the authors released for ground glass and consolidation, 17,269,251 parameters.

A common U-Net with 64 channels (as milesial/Pytorch-UNet's with bilinear enlargement): the paper's Table
III, "Semi-Inf-Net & MC". It sees the slice and the probability of infection and tells background and two
classes apart; ``infnet_train.weights.reference`` reads the authors' file.
"""

import torch
from torch import Tensor, nn

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of
from infnet_train.networks.unet_blocks import DoubleConv, go_down, twice, way_down

_WIDTHS = (64, 128, 256, 512, 512)
_UP = ((1024, 256), (512, 128), (256, 64), (128, 64))
"""Channels into and out of each step of the decoder."""


class MultiClassUNet(Network):
    """The released U-Net.

    Parameters
    ----------
    in_channels
        Of the input; six in the released one.
    out_channels
        One for the infection, or the background and the classes as in the released one, in our order.
    """

    entry = ("down.0.conv1",)

    def __init__(self, in_channels: int = 6, out_channels: int = 3) -> None:
        super().__init__()
        self.down = way_down(in_channels, _WIDTHS)
        self.up = nn.ModuleList(DoubleConv(into, out, into // 2) for into, out in _UP)
        self.head = nn.Conv2d(_UP[-1][1], out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        *skips, x = go_down(self.down, x)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, twice(x)], dim=1))
        return outputs_of(self.head(x))
