"""The decoder parts of Inf-Net: receptive-field reduction, partial decoder, edge and reverse attention.

Fan et al., "Inf-Net", IEEE TMI 2020 (arXiv 2004.14133). Where the text and the released code differ, the
released code is followed, because the published weights and scores belong to it; each place says so.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

DECODER_CHANNELS = 32
EDGE_CHANNELS = 64


class ConvBn(nn.Sequential):
    """Bias-free convolution and batch normalisation, without an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)


def resize(x: Tensor, factor: float, *, align_corners: bool = False) -> Tensor:
    """Bilinear resize by a factor, without antialiasing.

    The partial decoder of the released code aligns corners, everything after it does not.
    """
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


class ReceptiveFieldBlock(nn.Module):
    """Reduces a backbone feature to 32 channels with four receptive fields.

    Not in the paper's text; the released code places one before the partial decoder on f3, f4 and f5
    (after Liu et al., "Receptive Field Block Net", ECCV 2018).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        c = DECODER_CHANNELS
        self.branch0 = nn.Sequential(ConvBn(in_channels, c, 1))
        self.branch1, self.branch2, self.branch3 = (
            nn.Sequential(
                ConvBn(in_channels, c, 1),
                ConvBn(c, c, (1, k), padding=(0, k // 2)),
                ConvBn(c, c, (k, 1), padding=(k // 2, 0)),
                ConvBn(c, c, 3, padding=k, dilation=k),
            )
            for k in (3, 5, 7)
        )
        self.conv_cat = ConvBn(4 * c, c, 3, padding=1)
        self.conv_res = ConvBn(in_channels, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, 32, h, w)."""
        branches = [self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)]
        merged: Tensor = self.conv_cat(torch.cat(branches, dim=1)) + self.conv_res(x)
        return torch.relu(merged)


class PartialDecoder(nn.Module):
    """Parallel partial decoder: three reduced features -> the global map S_g (paper section III-C).

    Figure 3 of the paper swaps the 1x1 and 3x3 kernels; the code is followed.
    """

    def __init__(self) -> None:
        super().__init__()
        c = DECODER_CHANNELS
        self.conv_upsample1 = ConvBn(c, c, 3, padding=1)
        self.conv_upsample2 = ConvBn(c, c, 3, padding=1)
        self.conv_upsample3 = ConvBn(c, c, 3, padding=1)
        self.conv_upsample4 = ConvBn(c, c, 3, padding=1)
        self.conv_upsample5 = ConvBn(2 * c, 2 * c, 3, padding=1)
        self.conv_concat2 = ConvBn(2 * c, 2 * c, 3, padding=1)
        self.conv_concat3 = ConvBn(3 * c, 3 * c, 3, padding=1)
        self.conv4 = ConvBn(3 * c, 3 * c, 3, padding=1)
        self.conv5 = nn.Conv2d(3 * c, 1, 1)

    def forward(self, r3: Tensor, r4: Tensor, r5: Tensor) -> Tensor:
        """Reduced f3, f4, f5 (n, 32, h/8.., h/16.., h/32..) -> logits of S_g (n, 1, h/8, w/8)."""
        r5_up = resize(r5, 2, align_corners=True)
        r5_up_up = resize(r5_up, 2, align_corners=True)
        r4_up = resize(r4, 2, align_corners=True)
        a = self.conv_upsample1(r5_up) * r4
        b = self.conv_upsample2(r5_up_up) * self.conv_upsample3(r4_up) * r3
        c = self.conv_concat2(torch.cat([a, self.conv_upsample4(r5_up)], dim=1))
        c_up = self.conv_upsample5(resize(c, 2, align_corners=True))
        d = self.conv_concat3(torch.cat([b, c_up], dim=1))
        global_map: Tensor = self.conv5(self.conv4(d))
        return global_map


class EdgeAttention(nn.Module):
    """Edge branch on f2 (paper section III-B): edge features for the attention and an edge map.

    The paper writes "one filter"; the released code has four convolutions, and the third's output is
    what the reverse attention receives.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        c = EDGE_CHANNELS
        self.conv1 = ConvBn(in_channels, c, 1)
        self.conv2 = ConvBn(c, c, 3, padding=1)
        self.conv3 = ConvBn(c, c, 3, padding=1)
        self.conv4 = ConvBn(c, 1, 3, padding=1)

    def forward(self, f2: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 256, h/4, w/4) -> edge features (n, 64, h/4, w/4), edge logits (n, 1, h/4, w/4)."""
        features = self.conv3(self.conv2(self.conv1(f2)))
        return features, self.conv4(features)


class ReverseAttention(nn.Module):
    """One level of the cascaded reverse attention (paper section III-D).

    Equation 2 of the paper multiplies after the concatenation with the edge feature; the released code,
    and this module, multiply the backbone feature and then concatenate (the authors agreed).

    Parameters
    ----------
    in_channels
        Channels of the backbone feature.
    channels
        Channels inside the level.
    middle
        Number of convolutions, each followed by ReLU, between concatenation and output.
    kernel, out_kernel
        Kernel of the middle convolutions and of the last one.
    edge_channels
        Channels of the edge features; 0 for a network without edge attention.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        middle: int,
        kernel: int,
        out_kernel: int,
        edge_channels: int = EDGE_CHANNELS,
    ) -> None:
        super().__init__()
        self.reduce = ConvBn(in_channels, channels, 1)
        widths = [channels + edge_channels] + [channels] * (middle - 1)
        self.middle = nn.ModuleList(ConvBn(width, channels, kernel, padding=kernel // 2) for width in widths)
        self.out = ConvBn(channels, 1, out_kernel, padding=out_kernel // 2)

    def forward(self, feature: Tensor, coarser_map: Tensor, edge: Tensor | None) -> Tensor:
        """Refine a map.

        Parameters
        ----------
        feature : (n, in_channels, h, w)
            Backbone feature of this level.
        coarser_map : (n, 1, h, w)
            Logits of the level before, already resized to this level.
        edge : (n, edge_channels, h, w)
            Edge features, already resized to this level; None in a network without edge attention.

        Returns
        -------
        (n, 1, h, w), logits
        """
        reverse = 1 - torch.sigmoid(coarser_map)
        x = self.reduce(reverse * feature)  # (n, 1, h, w) spreads over the channels
        if edge is not None:
            x = torch.cat([x, edge], dim=1)
        for conv in self.middle:
            x = torch.relu(conv(x))
        refined: Tensor = self.out(x) + coarser_map
        return refined
