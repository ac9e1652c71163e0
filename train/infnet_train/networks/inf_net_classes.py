"""Inf-Net that tells ground glass and consolidation apart: one network for infection and classes.

The paper does it in two steps, and names one network for both as future work (section V): a multi-class U-Net
is given the slice and the infection found by Inf-Net (section III-F). Here a small decoder reads what Inf-Net
has computed anyway. It costs 5 % more multiply-adds, where the U-Net of the paper costs 550 %.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from infnet_train.networks.blocks import DECODER_CHANNELS, ConvBn, resize
from infnet_train.networks.inf_net import Features, InfNet, SideOutputs
from infnet_train.networks.interface import CLASSES

_COARSE, _FINE = 64, 48


class ClassOutputs(NamedTuple):
    """What Inf-Net says of the infection, and the classes; logits at input size.

    Parameters
    ----------
    infection
        As of :class:`~infnet_train.networks.InfNet`.
    classes : (n, 3, h, w)
        Background, ground glass, consolidation.
    """

    infection: SideOutputs
    classes: Tensor

    @property
    def prediction(self) -> Tensor:
        """Of the infection: ``s3``."""
        return self.infection.prediction

    @property
    def infection_maps(self) -> dict[str, Tensor]:
        """As of Inf-Net."""
        return self.infection.infection_maps

    @property
    def edge(self) -> Tensor | None:
        """As of Inf-Net."""
        return self.infection.edge

    def to_float(self) -> "ClassOutputs":
        """The same in single precision."""
        return ClassOutputs(self.infection.to_float(), self.classes.float())


class ClassHead(nn.Module):
    """From features of Inf-Net to logits of background, ground glass and consolidation at 1/4.

    The backbone's f3 stands beside its reduced form, because that was reduced to find infection, in which the
    two classes are one. The infection map says where to look; no gradient goes back through it, so that the
    classes do not move the infection.
    """

    def __init__(self) -> None:
        super().__init__()
        c = DECODER_CHANNELS
        self.reduce2 = ConvBn(256, c, 1)
        self.reduce3 = ConvBn(512, c, 1)
        self.coarse = ConvBn(4 * c, _COARSE, 3, padding=1)
        self.fine1 = ConvBn(_COARSE + c + 1, _FINE, 3, padding=1)
        self.fine2 = ConvBn(_FINE, _FINE, 3, padding=1)
        self.out = nn.Conv2d(_FINE, 1 + len(CLASSES), 1)

    def forward(
        self, f2: Tensor, f3: Tensor, r3: Tensor, r4: Tensor, r5: Tensor, infection: Tensor
    ) -> Tensor:
        """Shapes as of :class:`~infnet_train.networks.inf_net.Features`; gives (n, 3, h / 4, w / 4)."""
        deep = torch.cat([torch.relu(self.reduce3(f3)), r3, resize(r4, 2), resize(r5, 4)], dim=1)
        coarse = torch.relu(self.coarse(deep))
        around = torch.cat([coarse, torch.sigmoid(infection.detach())], dim=1)
        x = torch.cat([resize(around, 2), torch.relu(self.reduce2(f2))], dim=1)
        logits: Tensor = self.out(torch.relu(self.fine2(torch.relu(self.fine1(x)))))
        return logits


class InfNetClasses(InfNet):
    """:class:`~infnet_train.networks.InfNet` with a :class:`ClassHead`, 31,234,260 parameters.

    With weights of an Inf-Net and the head alone trained (``train_only``), the infection is that of before.
    """

    begins_without = ("class_head",)

    def __init__(self) -> None:
        super().__init__()
        self.class_head = ClassHead()

    def forward(self, x: Tensor) -> ClassOutputs:  # type: ignore[override]
        """Segment a batch of slices, as Inf-Net does."""
        infection, made = self._segment(x)
        return ClassOutputs(infection, resize(self._classes(made), 4))

    def _classes(self, made: Features) -> Tensor:
        logits: Tensor = self.class_head(made.f2, made.f3, *made.reduced, made.prediction)
        return logits
