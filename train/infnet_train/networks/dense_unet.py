"""Dense U-Net of the paper's Table II: 45,082,145 parameters (45.082 M) and 43.785 G multiply-adds.

The two-dimensional part of Li et al., "H-DenseUNet", IEEE TMI 2018: the features of DenseNet-161 (Huang et
al., CVPR 2017) with a scale and a shift of their own after each normalisation, and five enlargements. As in
the port whose numbers the table has (thangylvp/HDenseUet) there is **no skip connection**, so by its name
alone it is a U-Net. The count is that of THOP of 2020: convolutions with their biases and two for each
normalised value; the convolutions alone have 43.601 G.

The names of the features are those of torchvision's ``densenet161`` with ``scale*`` besides. Differences to
the port: statistics of a normalisation follow with the momentum 0.1 of PyTorch (its 1 keeps nothing but the
last batch), and the small number beside a variance is PyTorch's too.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of

_GROWTH = 48
_BOTTLENECK = 4 * _GROWTH
_LAYERS = (6, 12, 36, 24)
_FIRST = 96
_DECODER = (768, 384, 96, 96, 64)


class Scale(nn.Module):
    """A factor and a summand for each channel.

    The normalisation before it has both already: it adds nothing but the parameters that the table counts.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same."""
        return x * self.gamma[:, None, None] + self.beta[:, None, None]


def _normed(number: int | str, channels: int) -> list[tuple[str, nn.Module]]:
    return [
        (f"norm{number}", nn.BatchNorm2d(channels)),
        (f"scale{number}", Scale(channels)),
        (f"relu{number}", nn.ReLU(inplace=True)),
    ]


class _DenseLayer(nn.Sequential):
    """Adds 48 channels to those it is given."""

    def __init__(self, channels: int) -> None:
        layers = [
            *_normed(1, channels),
            ("conv1", nn.Conv2d(channels, _BOTTLENECK, 1, bias=False)),
            *_normed(2, _BOTTLENECK),
            ("conv2", nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False)),
        ]
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return torch.cat([x, y], dim=1)


def _features(in_channels: int) -> tuple[nn.Sequential, int]:
    """The features of DenseNet-161 at 1/32, and how many channels they have."""
    channels = _FIRST
    layers: list[tuple[str, nn.Module]] = [
        ("conv0", nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)),
        *_normed(0, channels),
        ("pool0", nn.MaxPool2d(3, stride=2, padding=1)),
    ]
    for block, count in enumerate(_LAYERS, start=1):
        dense = [(f"denselayer{i + 1}", _DenseLayer(channels + i * _GROWTH)) for i in range(count)]
        layers.append((f"denseblock{block}", nn.Sequential(OrderedDict(dense))))
        channels += count * _GROWTH
        if block < len(_LAYERS):
            transition = [
                *_normed("", channels),
                ("conv", nn.Conv2d(channels, channels // 2, 1, bias=False)),
                ("pool", nn.AvgPool2d(2)),
            ]
            layers.append((f"transition{block}", nn.Sequential(OrderedDict(transition))))
            channels //= 2
    return nn.Sequential(OrderedDict([*layers, *_normed(5, channels)])), channels


class DenseUNet(Network):
    """DenseNet-161 and a decoder.

    Parameters
    ----------
    in_channels
        Of the input.
    out_channels
        One for the infection, or the background and the classes.
    """

    entry = ("features.conv0", "features.norm0")

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.features, channels = _features(in_channels)
        decoder: list[nn.Module] = []
        for width in _DECODER:
            decoder += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.decoder = nn.Sequential(*decoder)
        self.head = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        return outputs_of(self.head(self.decoder(self.features(x))))
