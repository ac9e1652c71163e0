"""The network that finds the lungs: a small U-Net of inverted residuals, 0.89 M parameters.

Right and left lung are classes of their own, so that the network says which side it sees and no component has
to be split afterwards. It has to know the whole chest to find a lung that is dense as a whole: the receptive
field reaches over all of the 160 pixels. Inverted residuals after Sandler et al., "MobileNetV2", CVPR 2018;
the last layer gives four sub-pixels for each place (Shi et al., CVPR 2016), which costs less than a layer at
full size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 112, 160)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""
_CLASSES = 3  # background, right, left
_SUB_PIXELS = 2


class _ConvBn(nn.Sequential):
    """Convolution without bias, batch normalisation and, unless it ends a block, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if active:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class _Inverted(nn.Module):
    """Widen, convolve each channel on its own, narrow; added to the input where the shape stays."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, widen: int = 3
    ) -> None:
        super().__init__()
        inner = in_channels * widen
        self.body = nn.Sequential(
            _ConvBn(in_channels, inner, 1),
            _ConvBn(inner, inner, kernel, stride=stride, groups=inner),
            _ConvBn(inner, out_channels, 1, active=False),
        )
        self.is_residual = in_channels == out_channels and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.is_residual else y


class LungNet(nn.Module):
    """Grey planes to logits of background, right and left lung.

    Parameters
    ----------
    widths
        Channels at the five sizes.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.stem = _ConvBn(3, a, 3, stride=2)
        self.down1 = nn.Sequential(_ConvBn(a, b, 3, stride=2), _Inverted(b, b, widen=2))
        self.down2 = nn.Sequential(_ConvBn(b, c, 3, stride=2), _Inverted(c, c))
        self.down3 = nn.Sequential(_Inverted(c, d, stride=2), _Inverted(d, d, kernel=5))
        self.down4 = nn.Sequential(
            _Inverted(d, e, kernel=5, stride=2), *(_Inverted(e, e, kernel=5) for _ in range(3))
        )
        self.lateral4, self.up3 = _ConvBn(e, d, 1), _Inverted(d, d, widen=2)
        self.lateral3, self.up2 = _ConvBn(d, c, 1), _Inverted(c, c, widen=2)
        self.lateral2, self.up1 = _ConvBn(c, b, 1), _Inverted(b, b, widen=2)
        self.lateral1 = _ConvBn(b, a, 1)
        self.up0 = nn.Sequential(_ConvBn(a, a, 3, groups=a), _ConvBn(a, a, 1))
        self.head = nn.Conv2d(a, _CLASSES * _SUB_PIXELS**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) grey 0..1, h and w multiples of 32 -> logits (n, 3, h, w)."""
        f0 = self.stem(x)
        f1 = self.down1(f0)
        f2 = self.down2(f1)
        f3 = self.down3(f2)
        y = self.up3(_twice(self.lateral4(self.down4(f3))) + f3)
        y = self.up2(_twice(self.lateral3(y)) + f2)
        y = self.up1(_twice(self.lateral2(y)) + f1)
        y = self.up0(_twice(self.lateral1(y)) + f0)
        return functional.pixel_shuffle(self.head(y), _SUB_PIXELS)


class LungProbabilities(nn.Module):
    """The network as it is exported: logits to the probabilities of the right and the left lung."""

    def __init__(self, network: LungNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) grey 0..1 -> (n, 2, h, w)."""
        return torch.softmax(self.network(x), dim=1)[:, 1:]


def lung_loss(logits: Tensor, lungs: Tensor) -> Tensor:
    """Cross-entropy plus Dice of each side over the whole batch, with labels that may be soft.

    Over the batch, because most slices of an abdomen have no lung and their own Dice would mean nothing.

    Parameters
    ----------
    logits : (n, 3, h, w)
    lungs : (n, 2, h, w)
        Shares of right and left lung, 0..1.
    """
    background = 1 - lungs.sum(dim=1, keepdim=True)
    target = torch.cat([background, lungs], dim=1).clamp(0, 1)
    entropy = -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
    found = torch.softmax(logits, dim=1)[:, 1:]
    both = (found * lungs).sum(dim=(0, 2, 3))
    either = (found + lungs).sum(dim=(0, 2, 3))
    return entropy + (1 - (2 * both + 1) / (either + 1)).mean()


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
