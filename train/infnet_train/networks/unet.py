"""U-Net, the first row of the paper's Table II: 7,852,545 parameters, as printed there (7.853 M).

Ronneberger et al., MICCAI 2015, in the form of the public code of Zhou et al., "UNet++" (the ``UNet`` of
4uiiurz1/pytorch-nested-unet): half the channels, borders padded, normalisation, and bilinear enlargement
instead of transposed convolutions. The 38.116 G multiply-adds of the table are not those of this network
(26.375 G of its convolutions at 352); no variant with 7.853 M parameters that has them was found.
"""

import torch
from torch import Tensor, nn

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of
from infnet_train.networks.unet_blocks import WIDTHS, DoubleConv, go_down, twice, way_down


class UNet(Network):
    """The U-Net.

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
        self.up = nn.ModuleList(
            DoubleConv(width + below, width)
            for width, below in zip(WIDTHS[-2::-1], WIDTHS[::-1], strict=False)
        )
        self.head = nn.Conv2d(WIDTHS[0], out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        *skips, x = go_down(self.down, x)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, twice(x)], dim=1))
        return outputs_of(self.head(x))
