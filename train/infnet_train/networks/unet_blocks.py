"""What the U-Nets are made of."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.blocks import resize

WIDTHS = (32, 64, 128, 256, 512)
"""Channels at 1/1, 1/2, 1/4, 1/8 and 1/16 of the input: half of those of Ronneberger et al., MICCAI 2015."""


class DoubleConv(nn.Sequential):
    """Twice a 3x3 convolution with bias, batch normalisation and ReLU.

    The bias does nothing before a normalisation; the published networks have it and count it.

    Parameters
    ----------
    middle_channels
        Between the two convolutions; as many as come out unless it is said.
    """

    def __init__(self, in_channels: int, out_channels: int, middle_channels: int | None = None) -> None:
        middle = out_channels if middle_channels is None else middle_channels
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, middle, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(middle, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU(inplace=True)


def way_down(in_channels: int, widths: tuple[int, ...]) -> nn.ModuleList:
    """The blocks of an encoder, one for each width."""
    return nn.ModuleList(
        DoubleConv(before, width) for before, width in zip((in_channels, *widths), widths, strict=False)
    )


def go_down(blocks: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What each block of an encoder says, from fine to coarse: its features are halved for the next."""
    features: list[Tensor] = []
    for block in blocks:
        x = block(functional.max_pool2d(x, 2) if features else x)
        features.append(x)
    return features


def twice(x: Tensor) -> Tensor:
    """Twice the size, bilinear; corners are aligned, as in the networks that are rebuilt here."""
    return resize(x, 2, align_corners=True)
