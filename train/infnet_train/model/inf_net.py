"""Inf-Net: lung infection segmentation from one CT slice.

Fan et al., "Inf-Net: Automatic COVID-19 Lung Infection Segmentation from CT Images", IEEE TMI 2020
(arXiv 2004.14133), figure 2. Res2Net-50 version, as behind the published scores.
"""

from typing import NamedTuple

from torch import Tensor, nn

from infnet_train.model.blocks import (
    EdgeAttention,
    PartialDecoder,
    ReceptiveFieldBlock,
    ReverseAttention,
    resize,
)
from infnet_train.model.res2net import Res2Net50

INPUT_MULTIPLE = 32


class SideOutputs(NamedTuple):
    """All outputs as logits at input size, (n, 1, h, w) each, named as in the paper.

    ``s3`` is the prediction. The released code calls them map_5, map_4, map_3, map_2 and edge.
    """

    global_map: Tensor
    s5: Tensor
    s4: Tensor
    s3: Tensor
    edge: Tensor


class InfNet(nn.Module):
    """The segmentation network of the paper, 31,072,721 parameters.

    The published count of 33.122 M includes a 1000-class head that is never called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Res2Net50()
        self.rfb3 = ReceptiveFieldBlock(512)
        self.rfb4 = ReceptiveFieldBlock(1024)
        self.rfb5 = ReceptiveFieldBlock(2048)
        self.partial_decoder = PartialDecoder()
        self.edge_attention = EdgeAttention(256)
        self.reverse_attention5 = ReverseAttention(2048, 256, middle=3, kernel=5, out_kernel=1)
        self.reverse_attention4 = ReverseAttention(1024, 64, middle=2, kernel=3, out_kernel=3)
        self.reverse_attention3 = ReverseAttention(512, 64, middle=2, kernel=3, out_kernel=3)

    def forward(self, x: Tensor) -> SideOutputs:
        """Segment a batch of slices.

        Parameters
        ----------
        x : (n, 3, h, w), h and w multiples of 32
            Normalised slices (see ``infnet_runtime.preprocess``).

        Raises
        ------
        ValueError
            If height or width is not a multiple of 32.
        """
        _check_size(x)
        f2, f3, f4, f5 = self.backbone(x)
        edge_features, edge = self.edge_attention(f2)
        s_g = self.partial_decoder(self.rfb3(f3), self.rfb4(f4), self.rfb5(f5))
        s5 = self.reverse_attention5(f5, resize(s_g, 0.25), resize(edge_features, 0.125))
        s4 = self.reverse_attention4(f4, resize(s5, 2), resize(edge_features, 0.25))
        s3 = self.reverse_attention3(f3, resize(s4, 2), resize(edge_features, 0.5))
        return SideOutputs(
            global_map=resize(s_g, 8),
            s5=resize(s5, 32),
            s4=resize(s4, 16),
            s3=resize(s3, 8),
            edge=resize(edge, 4),
        )


def _check_size(x: Tensor) -> None:
    height, width = x.shape[-2:]
    if height % INPUT_MULTIPLE or width % INPUT_MULTIPLE:
        raise ValueError(
            f"slices are {height} x {width}, expected multiples of {INPUT_MULTIPLE}: "
            "resize them before the network"
        )
