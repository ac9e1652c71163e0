"""Inf-Net: lung infection segmentation from one CT slice.

Fan et al., "Inf-Net: Automatic COVID-19 Lung Infection Segmentation from CT Images", IEEE TMI 2020
(arXiv 2004.14133), figure 2. Res2Net-50 version, as behind the published scores.
"""

from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from infnet_train.networks.blocks import (
    DECODER_CHANNELS,
    EDGE_CHANNELS,
    EdgeAttention,
    PartialDecoder,
    ReceptiveFieldBlock,
    ReverseAttention,
    resize,
)
from infnet_train.networks.interface import Network, check_size
from infnet_train.networks.res2net import Res2Net50

Part = Literal["edge_attention", "partial_decoder", "reverse_attention"]
ALL_PARTS: tuple[Part, ...] = get_args(Part)


class SideOutputs(NamedTuple):
    """All outputs as logits at input size, (n, 1, h, w) each, named as in the paper.

    ``s3`` is the prediction. The released code calls them map_5, map_4, map_3, map_2 and edge. Without
    reverse attention ``s3`` is the global map and ``s5`` and ``s4`` are None; without edge attention
    ``edge`` is None.
    """

    global_map: Tensor
    s5: Tensor | None
    s4: Tensor | None
    s3: Tensor
    edge: Tensor | None

    @property
    def prediction(self) -> Tensor:
        """``s3``."""
        return self.s3

    @property
    def classes(self) -> None:
        """It knows of none."""
        return

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """The maps of the infection from coarse to fine, each once."""
        if self.s5 is None or self.s4 is None:
            return {"s3": self.s3}
        return {"s_g": self.global_map, "s5": self.s5, "s4": self.s4, "s3": self.s3}

    def to_float(self) -> "SideOutputs":
        """The same in single precision."""
        return SideOutputs._make(None if map_ is None else map_.float() for map_ in self)


class Features(NamedTuple):
    """What Inf-Net makes on its way to the prediction.

    Parameters
    ----------
    f2, f3 : (n, 256, h / 4, w / 4), (n, 512, h / 8, w / 8)
        Of the backbone.
    reduced : (n, 32, ...) each
        f3, f4 and f5 as the partial decoder gets them, or f5 alone without it.
    prediction : (n, 1, h / 8, w / 8)
        Logits, before they are enlarged.
    """

    f2: Tensor
    f3: Tensor
    reduced: tuple[Tensor, ...]
    prediction: Tensor


class InfNet(Network):
    """The segmentation network of the paper, 31,072,721 parameters.

    The published count of 33.122 M includes a 1000-class head that is never called.

    With fewer parts it is a row of the paper's ablation (Table IV). The paper does not say what stands in
    for an absent part; these replacements are ours, the plainest we found:

    - without the partial decoder, the global map is a 1x1 convolution on the reduced deepest feature,
      resized from 1/32 to 1/8, and f3 and f4 are not reduced;
    - without edge attention, the reverse attention has no edge features to concatenate, and there is no
      edge map;
    - without reverse attention, the global map is the prediction. Edge attention then feeds no other part:
      it acts through its loss on f2 alone.

    Parameters
    ----------
    parts
        The parts on top of the backbone, in any order.

    Raises
    ------
    ValueError
        If a part is not known.
    """

    entry = ("backbone.stem.0", "backbone.stem.1")

    def __init__(self, parts: tuple[Part, ...] = ALL_PARTS) -> None:
        super().__init__()
        _check_parts(parts)
        self.parts = parts
        self.backbone = Res2Net50()
        # The order of construction decides what a seed gives: the full network keeps its own.
        if "partial_decoder" in parts:
            self.rfb3 = ReceptiveFieldBlock(512)
            self.rfb4 = ReceptiveFieldBlock(1024)
        self.rfb5 = ReceptiveFieldBlock(2048)
        if "partial_decoder" in parts:
            self.partial_decoder = PartialDecoder()
        else:
            self.plain_decoder = nn.Conv2d(DECODER_CHANNELS, 1, 1)
        if "edge_attention" in parts:
            self.edge_attention = EdgeAttention(256)
        if "reverse_attention" in parts:
            edge = EDGE_CHANNELS if "edge_attention" in parts else 0
            self.reverse_attention5 = ReverseAttention(
                2048, 256, middle=3, kernel=5, out_kernel=1, edge_channels=edge
            )
            self.reverse_attention4 = ReverseAttention(
                1024, 64, middle=2, kernel=3, out_kernel=3, edge_channels=edge
            )
            self.reverse_attention3 = ReverseAttention(
                512, 64, middle=2, kernel=3, out_kernel=3, edge_channels=edge
            )

    def forward(self, x: Tensor) -> SideOutputs:
        """Segment a batch of slices.

        Parameters
        ----------
        x : (n, 3, h, w), h and w multiples of 32
            Normalised slices (see ``infnet_runtime.slices.preprocess``).

        Raises
        ------
        ValueError
            If height or width is not a multiple of 32.
        """
        return self._segment(x)[0]

    def _segment(self, x: Tensor) -> tuple[SideOutputs, Features]:
        """What :meth:`forward` returns, and what it was made from."""
        check_size(x)
        f2, f3, f4, f5 = self.backbone(x)
        reduced: tuple[Tensor, ...] = (self.rfb5(f5),)
        edge_features, edge = self.edge_attention(f2) if "edge_attention" in self.parts else (None, None)
        if "partial_decoder" in self.parts:
            reduced = (self.rfb3(f3), self.rfb4(f4), *reduced)
            s_g = self.partial_decoder(*reduced)
        else:
            s_g = resize(self.plain_decoder(*reduced), 4)
        if "reverse_attention" not in self.parts:
            global_map = resize(s_g, 8)
            outputs = SideOutputs(global_map, s5=None, s4=None, s3=global_map, edge=_resize_if(edge, 4))
            return outputs, Features(f2, f3, reduced, s_g)
        s5 = self.reverse_attention5(f5, resize(s_g, 0.25), _resize_if(edge_features, 0.125))
        s4 = self.reverse_attention4(f4, resize(s5, 2), _resize_if(edge_features, 0.25))
        s3 = self.reverse_attention3(f3, resize(s4, 2), _resize_if(edge_features, 0.5))
        outputs = SideOutputs(
            global_map=resize(s_g, 8),
            s5=resize(s5, 32),
            s4=resize(s4, 16),
            s3=resize(s3, 8),
            edge=_resize_if(edge, 4),
        )
        return outputs, Features(f2, f3, reduced, s3)


def _resize_if(x: Tensor | None, factor: float) -> Tensor | None:
    return None if x is None else resize(x, factor)


def _check_parts(parts: tuple[Part, ...]) -> None:
    unknown = [part for part in parts if part not in ALL_PARTS]
    if unknown:
        raise ValueError(
            f"the network has no part {', '.join(map(repr, unknown))}; its parts are {', '.join(ALL_PARTS)}"
        )
