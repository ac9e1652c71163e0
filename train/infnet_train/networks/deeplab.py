"""DeepLabV3+ with ResNet-101, of the paper's Table III, at a stride of 8 or 16.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018, in its plainest form:
ResNet-101 (He et al., CVPR 2016), whose last stages widen their kernels instead of halving, with the grid
(1, 2, 4) in the last, atrous pyramid, and a decoder on the features at 1/4. The paper does not say which
backbone or form its DeepLabV3+ has. Names of the backbone are those of torchvision's ``resnet101``. Ours:
the mean over the slice in the pyramid has no normalisation, which cannot learn from one slice, and no
dropout anywhere.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of

_BLOCKS = (3, 4, 23, 3)
_EXPANSION = 4
_GRID = (1, 2, 4)
_PYRAMID = 256
_FINE = 48
"""Channels that are left of the features at 1/4."""
_RATES = {8: (12, 24, 36), 16: (6, 12, 18)}


def _conv_bn(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _Bottleneck(nn.Module):
    def __init__(self, in_channels: int, planes: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out_channels = planes * _EXPANSION
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))
        return torch.relu_(y)


def _stage(in_channels: int, planes: int, stride: int, dilations: tuple[int, ...]) -> nn.Sequential:
    blocks = [_Bottleneck(in_channels, planes, stride=stride, dilation=dilations[0])]
    blocks += [_Bottleneck(planes * _EXPANSION, planes, dilation=dilation) for dilation in dilations[1:]]
    return nn.Sequential(*blocks)


class ResNet101(nn.Module):
    """The features at 1/4 and at the stride asked for."""

    def __init__(self, in_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        third, fourth = 16 // stride, 32 // stride  # what is not halved any more
        self.layer1 = _stage(64, 64, 1, (1,) * _BLOCKS[0])
        self.layer2 = _stage(256, 128, 2, (1,) * _BLOCKS[1])
        self.layer3 = _stage(512, 256, 2 // third, (third,) * _BLOCKS[2])
        self.layer4 = _stage(1024, 512, 1, tuple(fourth * rate for rate in _GRID))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, in_channels, h, w) -> 256 channels at 1/4 and 2048 at the stride."""
        fine = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return fine, self.layer4(self.layer3(self.layer2(fine)))


class _Pyramid(nn.Module):
    """The same place seen with kernels of different reach, and the mean over the slice."""

    def __init__(self, in_channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.near = _conv_bn(in_channels, _PYRAMID, 1)
        self.far = nn.ModuleList(_conv_bn(in_channels, _PYRAMID, 3, dilation=rate) for rate in rates)
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, _PYRAMID, 1), nn.ReLU(inplace=True)
        )
        self.merge = _conv_bn((len(rates) + 2) * _PYRAMID, _PYRAMID, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.near(x), *(far(x) for far in self.far), self.mean(x).expand(-1, -1, *x.shape[-2:])]
        merged: Tensor = self.merge(torch.cat(seen, dim=1))
        return merged


class DeepLab(Network):
    """DeepLabV3+.

    Parameters
    ----------
    in_channels
        Of the input.
    out_channels
        One for the infection, or the background and the classes.
    stride
        Of the deepest features, 8 or 16.
    """

    entry = ("backbone.conv1", "backbone.bn1")

    def __init__(self, in_channels: int = 3, out_channels: int = 1, *, stride: int = 16) -> None:
        super().__init__()
        self.backbone = ResNet101(in_channels, stride)
        self.pyramid = _Pyramid(512 * _EXPANSION, _RATES[stride])
        self.fine = _conv_bn(64 * _EXPANSION, _FINE, 1)
        self.decoder = nn.Sequential(_conv_bn(_PYRAMID + _FINE, _PYRAMID, 3), _conv_bn(_PYRAMID, _PYRAMID, 3))
        self.head = nn.Conv2d(_PYRAMID, out_channels, 1)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        fine, deep = self.backbone(x)
        deep = _resized_to(self.pyramid(deep), fine)
        logits = self.head(self.decoder(torch.cat([deep, self.fine(fine)], dim=1)))
        return outputs_of(_resized_to(logits, x))


def _resized_to(x: Tensor, other: Tensor) -> Tensor:
    return functional.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=False)
