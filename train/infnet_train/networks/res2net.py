"""Res2Net-50 v1b (26w x 4s), the backbone of Inf-Net.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", IEEE TPAMI 2021. The "v1b" variant has a
three-convolution stem and average-pooled shortcuts. Parameter names inside a block are those of the
published ImageNet weights, so that such a file maps by prefix alone (see ``infnet_train.weights.reference``).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

BASE_WIDTH = 26
SCALES = 4
EXPANSION = 4
BLOCKS_PER_STAGE = (3, 4, 6, 3)


class Features(NamedTuple):
    """Backbone features f2..f5 of the paper, at strides 4, 8, 16 and 32."""

    f2: Tensor
    f3: Tensor
    f4: Tensor
    f5: Tensor


class Bottle2neck(nn.Module):
    """Residual block whose 3x3 convolution works on four channel groups, one after the other.

    Parameters
    ----------
    in_channels, planes
        Channels in; the block gives ``4 * planes`` channels out.
    stride
        Stride of the 3x3 convolutions and of the shortcut.
    opens_stage
        The first block of a stage: its groups do not feed one another, the fourth group is
        average-pooled, and the shortcut is pooled and projected.
    """

    def __init__(self, in_channels: int, planes: int, stride: int, *, opens_stage: bool) -> None:
        super().__init__()
        width = planes * BASE_WIDTH // 64
        out_channels = planes * EXPANSION
        self.width = width
        self.opens_stage = opens_stage
        self.conv1 = nn.Conv2d(in_channels, width * SCALES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALES)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False) for _ in range(SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALES - 1))
        self.conv3 = nn.Conv2d(width * SCALES, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        if opens_stage:
            # Padding is counted in this pool (its divisor is always 9), also at stride 1.
            self.pool = nn.AvgPool2d(3, stride=stride, padding=1)
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride=stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, 4 * planes, h / stride, w / stride)."""
        groups = torch.split(self.relu(self.bn1(self.conv1(x))), self.width, dim=1)
        outputs: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=False):
            carried = group if self.opens_stage or not outputs else outputs[-1] + group
            outputs.append(self.relu(bn(conv(carried))))
        outputs.append(self.pool(groups[-1]) if self.opens_stage else groups[-1])
        residual = self.downsample(x) if self.opens_stage else x
        summed: Tensor = self.bn3(self.conv3(torch.cat(outputs, dim=1))) + residual
        return torch.relu_(summed)


class Res2Net50(nn.Module):
    """Backbone: (n, 3, h, w) -> features f2..f5 with 256, 512, 1024 and 2048 channels.

    Convolutions start Kaiming-normal (fan out), normalisation at 1 and 0, as in the original code.
    The 1000-class head of the published weights is never called and is not built.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
        )
        self.stem_bn = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, BLOCKS_PER_STAGE[0], stride=1)
        self.layer2 = _stage(256, 128, BLOCKS_PER_STAGE[1], stride=2)
        self.layer3 = _stage(512, 256, BLOCKS_PER_STAGE[2], stride=2)
        self.layer4 = _stage(1024, 512, BLOCKS_PER_STAGE[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Features:
        """(n, 3, h, w), h and w multiples of 32 -> :class:`Features`."""
        x = self.pool(self.relu(self.stem_bn(self.stem(x))))
        f2 = self.layer1(x)
        f3 = self.layer2(f2)
        f4 = self.layer3(f3)
        f5 = self.layer4(f4)
        return Features(f2, f3, f4, f5)


def _stage(in_channels: int, planes: int, blocks: int, *, stride: int) -> nn.Sequential:
    opening = Bottle2neck(in_channels, planes, stride, opens_stage=True)
    rest = [Bottle2neck(planes * EXPANSION, planes, 1, opens_stage=False) for _ in range(blocks - 1)]
    return nn.Sequential(opening, *rest)
