"""Convolutions with nothing but linear steps between them, computed as one.

The decoder blocks of Inf-Net have no activation, and the coarsest reverse attention takes the global map at
a quarter of its size. Two rules cover what is done here, both exact in real arithmetic:

- a convolution after a convolution is one with a larger kernel. Zero padding between the two would be lost,
  so the second must have none;
- the bilinear resize by 1/k without antialiasing, k even, is the mean of the two middle pixels of every k
  along each axis: a convolution with stride k that never touches a border.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_train.networks.blocks import (
    DECODER_CHANNELS,
    EdgeAttention,
    PartialDecoder,
    ReceptiveFieldBlock,
)
from infnet_train.networks.res2net import Bottle2neck


def composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One convolution for two, ``second(first(x))``.

    Raises
    ------
    ValueError
        If the second pads, because the zeros would stand for what the first gives outside the image, or if
        one has groups or dilation, or the first a stride.
    """
    if second.padding != (0, 0) or first.stride != (1, 1):
        raise ValueError(
            f"a convolution with stride {first.stride} and one with padding {second.padding} do not compose; "
            "expected stride 1 and padding 0"
        )
    if any(c.groups != 1 or c.dilation != (1, 1) for c in (first, second)):
        raise ValueError("convolutions with groups or dilation are not composed here")
    rows, columns = second.kernel_size
    # (inner, in, h, w) as images of the second's mirrored kernel: (in, out, h + rows - 1, w + columns - 1)
    kernel = functional.conv2d(
        first.weight.transpose(0, 1), second.weight.flip(2, 3), padding=(rows - 1, columns - 1)
    )
    bias = second.weight.sum(dim=(2, 3)) @ _bias(first) + _bias(second)
    return _convolution(kernel.transpose(0, 1), bias, stride=second.stride, padding=first.padding)


def then_shrunk(convolution: nn.Conv2d, factor: int) -> nn.Conv2d:
    """One convolution for a size-preserving one and the bilinear resize by ``1 / factor`` after it.

    Parameters
    ----------
    factor
        Even; the image is a multiple of it.

    Raises
    ------
    ValueError
        If the factor is not even and positive, or the convolution changes the size.
    """
    if factor < 2 or factor % 2:
        raise ValueError(f"the factor is {factor}, expected an even number: others weigh pixels differently")
    size, (padding, *others) = convolution.kernel_size, set(_pair(convolution.padding))
    if others or size != (2 * padding + 1, 2 * padding + 1):
        raise ValueError(
            f"a kernel {size} with padding {convolution.padding} does not preserve the size of the image"
        )
    channels = convolution.out_channels
    mean = torch.eye(channels, dtype=convolution.weight.dtype)[:, :, None, None].expand(-1, -1, 2, 2) / 4
    kernel = composed(convolution, _convolution(mean, torch.zeros_like(_bias(convolution)))).weight
    # The first pixel of each mean, less what the kernel reaches in front of it.
    start = factor // 2 - 1 - padding
    ahead = max(start, 0)  # a convolution starts at its first pixel or before it, so zeros fill the way
    kernel = functional.pad(kernel, (ahead, 0, ahead, 0))
    return _convolution(
        kernel, _bias(convolution), stride=(factor, factor), padding=(max(-start, 0), max(-start, 0))
    )


def side_by_side(convolutions: list[nn.Conv2d]) -> nn.Conv2d:
    """One 1x1 convolution for several on the same image; their outputs one after the other."""
    kernels = torch.cat([c.weight for c in convolutions])
    return _convolution(kernels, torch.cat([_bias(c) for c in convolutions]))


class MergedReceptiveField(nn.Module):
    """A receptive field block that reads the wide feature once instead of five times.

    Parameters
    ----------
    block
        With its normalisation folded; stays as it is.
    """

    def __init__(self, block: ReceptiveFieldBlock) -> None:
        super().__init__()
        block = copy.deepcopy(block)
        branches = (block.branch0, block.branch1, block.branch2, block.branch3)
        self.reduce = side_by_side([_only_conv(b[0]) for b in branches] + [_only_conv(block.conv_res)])
        self.branch1, self.branch2, self.branch3 = (b[1:] for b in branches[1:])
        self.conv_cat = block.conv_cat

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, 32, h, w)."""
        b0, b1, b2, b3, shortcut = torch.split(self.reduce(x), DECODER_CHANNELS, dim=1)
        branches = [b0, self.branch1(b1), self.branch2(b2), self.branch3(b3)]
        merged: Tensor = self.conv_cat(torch.cat(branches, dim=1)) + shortcut
        return torch.relu(merged)


class MergedShortcut(nn.Module):
    """The opening block of a stage with its projected shortcut inside the last convolution.

    W y + V p, with the pooled input p, is one 1x1 convolution on both, one after the other: the projection is
    not written, read and added.

    Parameters
    ----------
    block
        With its normalisation folded and its pools simplified; stays as it is.
    """

    def __init__(self, block: Bottle2neck) -> None:
        super().__init__()
        if not block.opens_stage:
            raise ValueError("only the opening block of a stage has a projected shortcut")
        block = copy.deepcopy(block)
        last, projection = _folded(block.conv3), _folded(block.downsample[1])
        self.width = block.width
        self.conv1, self.convs, self.pool = block.conv1, block.convs, block.pool
        self.downsample = block.downsample[0]
        self.conv3 = _convolution(
            torch.cat([last.weight, projection.weight], dim=1), _bias(last) + _bias(projection)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in :class:`~infnet_train.networks.res2net.Bottle2neck`."""
        groups = torch.split(torch.relu(self.conv1(x)), self.width, dim=1)
        outputs = [torch.relu(conv(group)) for group, conv in zip(groups, self.convs, strict=False)]
        outputs += [self.pool(groups[-1]), self.downsample(x)]
        return torch.relu(self.conv3(torch.cat(outputs, dim=1)))


class EdgePyramid(nn.Module):
    """Edge features at the three sizes that the reverse attention takes, and at no other.

    Each is one convolution with a stride, so the third convolution of the branch is computed where its
    means are, instead of everywhere. The edge map is for training and is not there.

    Parameters
    ----------
    edge
        With its normalisation folded; stays as it is.
    """

    def __init__(self, edge: EdgeAttention) -> None:
        super().__init__()
        edge = copy.deepcopy(edge)
        self.conv1, self.conv2 = edge.conv1, edge.conv2
        self.level3, self.level4, self.level5 = (then_shrunk(_only_conv(edge.conv3), k) for k in (2, 4, 8))

    def forward(self, f2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 256, h, w) -> (n, 64, h/2, w/2), (n, 64, h/4, w/4), (n, 64, h/8, w/8)."""
        features = self.conv2(self.conv1(f2))
        return self.level3(features), self.level4(features), self.level5(features)


def shrunk_global_map(decoder: PartialDecoder) -> PartialDecoder:
    """The partial decoder followed by the resize of its map by 1/4, the only use the prediction has for it.

    Its last three convolutions and the resize are one convolution with stride 4 and one channel out. The
    resize takes inner pixels alone, so no padding between them is ever seen.

    Parameters
    ----------
    decoder
        With its normalisation folded; stays as it is.

    Returns
    -------
    Gives (n, 1, h/4, w/4) where ``decoder`` gives (n, 1, h, w).
    """
    shrunk = copy.deepcopy(decoder)
    last = then_shrunk(composed(_only_conv(decoder.conv4), decoder.conv5), 4)
    shrunk.set_submodule("conv5", composed(_only_conv(decoder.conv_concat3), last))
    shrunk.set_submodule("conv4", nn.Identity())
    shrunk.set_submodule("conv_concat3", nn.Identity())
    return shrunk


def _only_conv(block: nn.Module) -> nn.Conv2d:
    """Convolution of a ``ConvBn`` whose normalisation is folded."""
    return _folded(block.get_submodule("conv"))


def _folded(convolution: nn.Module) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    if convolution.bias is None:
        raise ValueError("fold the batch normalisation before convolutions are merged")
    return convolution


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        return torch.zeros(convolution.out_channels, dtype=convolution.weight.dtype)
    return convolution.bias


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str)  # "same" and "valid" are not used in this network
    return padding


def _convolution(
    kernel: Tensor,
    bias: Tensor,
    *,
    stride: tuple[int, ...] = (1, 1),
    padding: str | tuple[int, ...] = (0, 0),
) -> nn.Conv2d:
    out_channels, in_channels, rows, columns = kernel.shape
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        (rows, columns),
        stride=(stride[0], stride[1]),
        padding=padding,  # type: ignore[arg-type]  # a pair, as in the convolution it comes from
    )
    convolution.weight = nn.Parameter(kernel.detach().contiguous())
    convolution.bias = nn.Parameter(bias.detach().clone())
    return convolution
