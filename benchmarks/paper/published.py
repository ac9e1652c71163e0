"""What the paper prints in its Tables II to V: Fan et al., IEEE TMI 2020, arXiv 2004.14133v4.

Nothing here is ever shown as a measurement of ours.
"""

from dataclasses import dataclass

VOLUME_MEASURES = ("dice", "sensitivity", "specificity", "precision", "mae")
"""Columns of Table V."""

Values = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    method
        As the paper calls it.
    system
        Of :data:`paper.systems.SYSTEMS` that stands beside it; empty where there is none.
    values
        Printed, in the order of the columns; of Table III those of ground glass.
    consolidation
        Printed in Table III.
    maps
        Folder of the authors' maps; empty where they released none.
    parameters, operations
        Printed in Table II.
    """

    method: str
    system: str
    values: Values
    consolidation: Values = ()
    maps: str = ""
    parameters: str = ""
    operations: str = ""


TABLE_II = (
    Row("U-Net", "unet", (0.439, 0.534, 0.858, 0.622, 0.625, 0.186), (), "UNet", "7.853 M", "38.116 G"),
    Row(
        "Attention-UNet",
        "attention-unet",
        (0.583, 0.637, 0.921, 0.744, 0.739, 0.112),
        parameters="8.727 M",
        operations="31.730 G",
    ),
    Row(
        "Gated-UNet",
        "gated-unet",
        (0.623, 0.658, 0.926, 0.725, 0.814, 0.102),
        parameters="175.093 K",
        operations="714.419 M",
    ),
    Row(
        "Dense-UNet",
        "dense-unet",
        (0.515, 0.594, 0.840, 0.655, 0.662, 0.184),
        parameters="45.082 M",
        operations="43.785 G",
    ),
    Row(
        "U-Net++",
        "unet++",
        (0.581, 0.672, 0.902, 0.722, 0.720, 0.120),
        parameters="9.163 M",
        operations="65.938 G",
    ),
    Row(
        "Inf-Net",
        "inf-net",
        (0.682, 0.692, 0.943, 0.781, 0.838, 0.082),
        (),
        "Inf-Net",
        "33.122 M",
        "13.922 G",
    ),
    Row(
        "Semi-Inf-Net",
        "",
        (0.739, 0.725, 0.960, 0.800, 0.894, 0.064),
        (),
        "Semi-Inf-Net",
        "33.122 M",
        "13.922 G",
    ),
)

TABLE_III = (
    Row(
        "DeepLabV3+ (stride 8)",
        "deeplabv3+-8-classes",
        (0.375, 0.478, 0.863, 0.544, 0.675, 0.123),
        (0.148, 0.152, 0.738, 0.500, 0.523, 0.064),
        "DeepLabV3Plus_Stride8",
    ),
    Row(
        "DeepLabV3+ (stride 16)",
        "deeplabv3+-16-classes",
        (0.443, 0.713, 0.823, 0.548, 0.655, 0.156),
        (0.238, 0.310, 0.708, 0.517, 0.606, 0.077),
    ),
    Row(
        "FCN8s",
        "fcn8s-classes",
        (0.471, 0.537, 0.905, 0.582, 0.774, 0.101),
        (0.279, 0.268, 0.716, 0.560, 0.560, 0.050),
        "FCN8s_1100",
    ),
    Row(
        "Multi-class U-Net",
        "multi-class-unet-classes",
        (0.441, 0.343, 0.984, 0.588, 0.714, 0.082),
        (0.403, 0.414, 0.967, 0.577, 0.767, 0.055),
    ),
    Row(
        "Semi-Inf-Net & FCN8s",
        "fcn8s-prior",
        (0.646, 0.720, 0.941, 0.711, 0.882, 0.071),
        (0.301, 0.235, 0.808, 0.571, 0.571, 0.045),
        "Semi-Inf-Net_FCN8s_1100",
    ),
    Row(
        "Semi-Inf-Net & MC",
        "multi-class-unet-prior",
        (0.624, 0.618, 0.966, 0.706, 0.889, 0.067),
        (0.458, 0.509, 0.967, 0.603, 0.767, 0.047),
        "Semi-Inf-Net_UNet",
    ),
)

TABLE_IV = (
    Row("backbone", "inf-net-backbone", (0.442, 0.570, 0.825, 0.651, 0.569, 0.207)),
    Row("backbone + EA", "inf-net-ea", (0.541, 0.665, 0.807, 0.673, 0.659, 0.205)),
    Row("backbone + PPD", "inf-net-ppd", (0.669, 0.744, 0.880, 0.720, 0.810, 0.125)),
    Row("backbone + RA", "inf-net-ra", (0.625, 0.826, 0.809, 0.668, 0.736, 0.177)),
    Row("backbone + RA + EA", "inf-net-ra-ea", (0.672, 0.754, 0.882, 0.738, 0.804, 0.122)),
    Row("backbone + PPD + RA", "inf-net-ppd-ra", (0.655, 0.690, 0.927, 0.761, 0.812, 0.098)),
    Row("all parts", "inf-net", (0.739, 0.725, 0.960, 0.800, 0.894, 0.064)),
)

TABLE_V = (
    Row("U-Net", "unet", (0.308, 0.678, 0.836, 0.265, 0.214)),
    Row("Attention-UNet", "attention-unet", (0.466, 0.723, 0.930, 0.390, 0.095)),
    Row("Gated-UNet", "gated-unet", (0.447, 0.674, 0.956, 0.375, 0.066)),
    Row("Dense-UNet", "dense-unet", (0.410, 0.607, 0.977, 0.415, 0.167)),
    Row("U-Net++", "unet++", (0.444, 0.877, 0.929, 0.369, 0.106)),
    Row("Inf-Net", "inf-net", (0.579, 0.870, 0.974, 0.500, 0.047)),
    Row("Semi-Inf-Net", "", (0.597, 0.865, 0.977, 0.515, 0.033)),
)
