"""FCN-8s, of the paper's Table III: scores at 1/8, 1/16 and 1/32 of VGG-16, added from coarse to fine.

Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015. The paper does not say
which form its FCN8s has, and it was never released. Ours, where there are no ImageNet weights to start
from: VGG-16 with normalisation (Simonyan & Zisserman, ICLR 2015; names as torchvision's ``vgg16_bn``),
which without it does not learn from random weights; the scores stand on the convolutions themselves,
without the two layers of 4096 channels that hold 119 M of the original's 134 M parameters; all enlargements
are bilinear, as the last one of the original is and as its others begin.
"""

from torch import Tensor, nn

from infnet_train.networks.blocks import resize
from infnet_train.networks.interface import Network, Outputs, check_size, outputs_of

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_SCORED = (256, 512, 512)


class FCN8s(Network):
    """The fully convolutional network.

    Parameters
    ----------
    in_channels
        Of the input.
    out_channels
        One for the infection, or the background and the classes.
    """

    entry = ("features.0",)

    def __init__(self, in_channels: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in _STAGES:
            for width in stage:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.scores = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in _SCORED)

    def forward(self, x: Tensor) -> Outputs:
        """Segment a batch, (n, in_channels, h, w), h and w multiples of 32."""
        check_size(x)
        pooled: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        fine, middle, coarse = (
            score(features) for score, features in zip(self.scores, pooled[2:], strict=True)
        )
        return outputs_of(resize(fine + resize(middle + resize(coarse, 2), 2), 8))
