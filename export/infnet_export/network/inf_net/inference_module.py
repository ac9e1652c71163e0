"""The network as it is exported: the path from slices to infection probability, with fewer operations.

Every rewrite is exact: the rewritten network equals the trained one but for the order of rounding, and is
computed in double precision before it is rounded to single once. ``REWRITES`` leave the network complete,
with all its outputs; :class:`PredictionPath` then keeps what the prediction needs.
"""

import copy
import re
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from infnet_export.network.class_output import ProbabilitiesWithClasses, WithClasses
from infnet_export.network.exporter import InfectionProbability
from infnet_export.network.inf_net.merged_convolutions import (
    EdgePyramid,
    MergedReceptiveField,
    MergedShortcut,
    shrunk_global_map,
)
from infnet_train.networks import InfectionMap, InfNet, InfNetClasses, Network
from infnet_train.networks.blocks import ReceptiveFieldBlock, ReverseAttention, resize
from infnet_train.networks.inf_net import Features
from infnet_train.networks.res2net import Bottle2neck

AnyInfNet = TypeVar("AnyInfNet", bound=InfNet)
_LAST_CONV_OF_STEM = "stem.6"


class PredictionPath(Network):
    """The part of a network that its prediction S3 depends on.

    The global map and the coarser levels stay, because they feed the finest one; their enlarged copies and
    the edge map are gone. The edge features and the global map come at the sizes they are used at.

    Parameters
    ----------
    network
        Complete, with its normalisations folded; shares its weights.
    """

    def __init__(self, network: InfNet) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.rfb3, self.rfb4, self.rfb5 = network.rfb3, network.rfb4, network.rfb5
        self.partial_decoder = shrunk_global_map(network.partial_decoder)
        self.edge_attention = EdgePyramid(network.edge_attention)
        self.reverse_attention5 = network.reverse_attention5
        self.reverse_attention4 = network.reverse_attention4
        self.reverse_attention3 = network.reverse_attention3

    def forward(self, slices: Tensor) -> InfectionMap:
        """(n, 3, h, w), h and w multiples of 32 -> logits of S3, (n, 1, h, w)."""
        return InfectionMap(self._segment(slices)[0])

    def _segment(self, slices: Tensor) -> tuple[Tensor, Features]:
        """The logits of S3 at the size of the slices, and what they were made from."""
        f2, f3, f4, f5 = self.backbone(slices)
        edge3, edge4, edge5 = self.edge_attention(f2)
        reduced = self.rfb3(f3), self.rfb4(f4), self.rfb5(f5)
        s_g = self.partial_decoder(*reduced)  # at 1/32, as f5
        s5 = self.reverse_attention5(f5, s_g, edge5)
        s4 = self.reverse_attention4(f4, resize(s5, 2), edge4)
        s3 = self.reverse_attention3(f3, resize(s4, 2), edge3)
        return resize(s3, 8), Features(f2, f3, reduced, s3)


class ClassPath(PredictionPath):
    """The path to the prediction, and from it to the classes.

    The infection comes first and whole, so that its part of the graph is that of a file without classes.
    """

    def __init__(self, network: InfNetClasses) -> None:
        super().__init__(network)
        self.class_head = network.class_head

    def forward(self, slices: Tensor) -> WithClasses:  # type: ignore[override]  # a map more
        """(n, 3, h, w), h and w multiples of 32 -> logits."""
        infection, made = self._segment(slices)
        classes = self.class_head(made.f2, made.f3, *made.reduced, made.prediction)
        return WithClasses(infection, resize(classes, 4))


class ChannelBias(nn.Module):
    """Adds one number to each channel."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.detach().reshape(1, -1, 1, 1))  # (c,) -> (1, c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        return x + self.bias


class ReducedReverseAttention(nn.Module):
    """Reverse attention that weighs the reduced feature instead of the wide one.

    The reverse map A is one number for each pixel, so it commutes with the 1x1 convolution that reduces the
    feature: W(A f) + b = A (W f) + b. The product then has 256 or 64 channels instead of 2048, 1024 or 512,
    and the wide feature is read by the convolution only.

    Parameters
    ----------
    level
        With its normalisation folded; stays as it is.
    """

    def __init__(self, level: ReverseAttention) -> None:
        super().__init__()
        wide = level.reduce.conv
        if wide.bias is None:
            raise ValueError("fold the batch normalisation before the reverse attention is rewritten")
        self.reduce = nn.Conv2d(wide.in_channels, wide.out_channels, 1, bias=False)
        self.reduce.weight = wide.weight
        self.level = copy.deepcopy(level)
        self.level.set_submodule("reduce", ChannelBias(wide.bias))

    def forward(self, feature: Tensor, coarser_map: Tensor, edge: Tensor | None) -> Tensor:
        """Shapes as in :class:`~infnet_train.networks.blocks.ReverseAttention`."""
        refined: Tensor = self.level(self.reduce(feature), coarser_map, edge)
        return refined


def inference_module(network: InfNet) -> InfectionProbability:
    """Rewrite a trained network for inference.

    Parameters
    ----------
    network
        With all parts; stays as it is.

    Returns
    -------
    In single precision and evaluation mode.
    """
    return InfectionProbability(PredictionPath(_rewritten(network))).float().eval()


def ablated_module(network: InfNet) -> InfectionProbability:
    """The same for a network with any parts; what the prediction does not need is left out by the trace."""
    return InfectionProbability(_rewritten(network)).float().eval()


def class_inference_module(network: InfNetClasses) -> ProbabilitiesWithClasses:
    """The same for a network with a class head."""
    return ProbabilitiesWithClasses(ClassPath(_rewritten(network))).float().eval()


def _rewritten(network: AnyInfNet) -> AnyInfNet:
    """In double precision."""
    rewritten = copy.deepcopy(network).double().eval()
    for rewrite in REWRITES:
        rewrite(rewritten)
    return rewritten


def fold_batch_norms(network: InfNet) -> None:
    """Put every batch normalisation into the convolution before it, in place."""
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        before = convolution_before(norm)
        convolution, normalisation = network.get_submodule(before), network.get_submodule(norm)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(normalisation, nn.BatchNorm2d)
        network.set_submodule(before, fuse_conv_bn_eval(convolution, normalisation))
        network.set_submodule(norm, nn.Identity())


def convolution_before(norm: str) -> str:
    """Name of the convolution that feeds a batch normalisation of ``InfNet``.

    Examples
    --------
    >>> convolution_before("backbone.layer1.0.bns.2"), convolution_before("backbone.stem_bn")
    ('backbone.layer1.0.convs.2', 'backbone.stem.6')
    >>> convolution_before("backbone.layer1.0.downsample.2"), convolution_before("rfb3.conv_cat.bn")
    ('backbone.layer1.0.downsample.1', 'rfb3.conv_cat.conv')
    """
    if norm.endswith("stem_bn"):
        return norm.removesuffix("stem_bn") + _LAST_CONV_OF_STEM
    if re.search(r"(stem|downsample)\.\d$", norm):
        head, index = norm.rsplit(".", 1)
        return f"{head}.{int(index) - 1}"
    return re.sub(r"bn(s\.\d|\d?)$", r"conv\1", norm)


def simplify_pools(network: InfNet) -> None:
    """Make the shortcut pools plain, in place.

    A pool of one pixel does nothing. Rounding the size up does nothing at even sizes, and the network takes
    multiples of 32 only.
    """
    for block in network.modules():
        if isinstance(block, Bottle2neck) and block.opens_stage:
            shortcut = block.downsample[0]
            assert isinstance(shortcut, nn.AvgPool2d)
            size = shortcut.kernel_size
            block.downsample[0] = nn.Identity() if size == 1 else nn.AvgPool2d(size, stride=shortcut.stride)


def reduce_before_attention(network: InfNet) -> None:
    """Replace every reverse attention level by :class:`ReducedReverseAttention`, in place."""
    levels = [name for name, module in network.named_modules() if isinstance(module, ReverseAttention)]
    for name in levels:
        level = network.get_submodule(name)
        assert isinstance(level, ReverseAttention)
        network.set_submodule(name, ReducedReverseAttention(level))


def merge_receptive_fields(network: InfNet) -> None:
    """Replace every receptive field block by :class:`MergedReceptiveField`, in place."""
    blocks = [name for name, m in network.named_modules() if isinstance(m, ReceptiveFieldBlock)]
    for name in blocks:
        block = network.get_submodule(name)
        assert isinstance(block, ReceptiveFieldBlock)
        network.set_submodule(name, MergedReceptiveField(block))


def merge_shortcuts(network: InfNet) -> None:
    """Replace the opening block of every stage by :class:`MergedShortcut`, in place."""
    blocks = [n for n, m in network.named_modules() if isinstance(m, Bottle2neck) and m.opens_stage]
    for name in blocks:
        block = network.get_submodule(name)
        assert isinstance(block, Bottle2neck)
        network.set_submodule(name, MergedShortcut(block))


REWRITES = (
    fold_batch_norms,
    simplify_pools,
    reduce_before_attention,
    merge_receptive_fields,
    merge_shortcuts,
)
"""In this order: the others need the folded normalisation, and the last one the simple pools."""
