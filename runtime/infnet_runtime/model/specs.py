"""How a slice becomes network input, and what the network's outputs mean: the parts of the manifest.

``docs/contract.md`` explains each value.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from infnet_runtime.errors import ModelError
from infnet_runtime.plain import omitted

EQUAL, NEIGHBOURS = "equal", "neighbours"
SIGMOID, SOFTMAX = "sigmoid", "softmax"
INFECTION = "infection"
"""Name of the class whose mask the runtime draws and measures."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ManifestError(ModelError):
    """The manifest is absent, foreign, of another version, or contradicts itself."""


def check_once(what: str, found: Iterable[object], where: str) -> None:
    """Refuse what stands twice.

    Raises
    ------
    ManifestError
        Naming it.
    """
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise ManifestError(f"{what} '{twice[0]}' stands twice in {where}, expected once", code=4024)


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """How a slice becomes a network input. Training and runtime use this one description.

    Parameters
    ----------
    window_hu : HU
        Lower and upper end of the lung window, mapped to 0 and 1. Our choice, see ``docs/contract.md``:
        the labelled training slices have no recoverable HU. Not applied to 8-bit windowed input.
    crop_margin_mm : mm
        Margin around the bounding box of the lungs, one box for the whole volume.
    size : pixels
        Side of the square network input, a multiple of 32.
    mean, std
        Normalisation of the three channels (ImageNet, as in the original code).
    orientation, kernel
        Named so that another contract is recognised: canonical orientation of the slices, and the resize
        (separable triangle filter, antialiased when it shrinks, as Pillow's "bilinear").
    channels
        ``equal``: the slice three times. ``neighbours``: the plane below (towards the feet), the slice, the
        plane above; the first and the last plane of a scan are their own neighbours.
    neighbour_step_mm : mm
        Distance of the neighbours from the slice; the nearest planes of the scan are taken. 0 for ``equal``.
    """

    window_hu: tuple[float, float] = (-1050.0, 250.0)
    crop_margin_mm: float = 5.0
    size: int = 352
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    orientation: str = "LPS"
    kernel: str = "triangle-antialias"
    channels: str = omitted(EQUAL)
    neighbour_step_mm: float = omitted(0.0)

    def __post_init__(self) -> None:
        low, high = self.window_hu
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ManifestError(f"window {low:g}..{high:g} HU does not rise", code=4023)
        if self.size <= 0 or self.size % 32:
            raise ManifestError(f"input size is {self.size}, expected a multiple of 32", code=4023)
        if not (math.isfinite(self.crop_margin_mm) and self.crop_margin_mm >= 0):
            raise ManifestError(f"crop margin is {self.crop_margin_mm} mm, expected 0 or more", code=4023)
        if not all(math.isfinite(v) for v in self.mean) or not all(0 < v < math.inf for v in self.std):
            raise ManifestError(f"mean {self.mean} or std {self.std} is not usable", code=4023)
        if self.orientation != "LPS" or self.kernel != "triangle-antialias":
            raise ManifestError(
                f"preprocessing is '{self.orientation}' with '{self.kernel}', this version knows 'LPS' with "
                "'triangle-antialias'; update infnet or export the model again",
                code=4022,
            )
        if self.channels not in (EQUAL, NEIGHBOURS):
            raise ManifestError(
                f"channels are '{self.channels}', this version knows '{EQUAL}' and '{NEIGHBOURS}'; update "
                "infnet or export the model again",
                code=4022,
            )
        step = self.neighbour_step_mm
        if not (math.isfinite(step) and (step > 0 if self.channels == NEIGHBOURS else step == 0)):
            raise ManifestError(
                f"neighbour step is {step} mm with channels '{self.channels}', expected a finite number "
                f"above 0 with '{NEIGHBOURS}', and 0 with '{EQUAL}'",
                code=4023,
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one network input."""
        return len(self.mean), self.size, self.size


@dataclass(frozen=True, kw_only=True)
class ClassSpec:
    """One class of an output, with the code that a DICOM segmentation or a report gives it.

    Parameters
    ----------
    value
        In the label map of its output, 1 to 255.
    scheme, code, meaning
        Coding scheme designator as in DICOM, the code in it, and its meaning.
    """

    value: int
    name: str
    scheme: str
    code: str
    meaning: str

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 255:
            raise ManifestError(f"class '{self.name}' has value {self.value}, expected 1 to 255", code=4024)


INFECTION_CLASS = ClassSpec(
    value=1,
    name=INFECTION,
    scheme="SCT",  # SNOMED CT
    code="882784691000119100",
    meaning="Pneumonia caused by severe acute respiratory syndrome coronavirus 2",
)

# The two kinds of infection in the paper, section III-D, with the values of its labels.
GROUND_GLASS = ClassSpec(
    value=1,
    name="ground glass",
    scheme="DCM",  # context groups 6102 and 6104 of DICOM PS3.16
    code="112120",
    meaning="Ground glass opacity",
)
CONSOLIDATION = ClassSpec(
    value=2,
    name="consolidation",
    scheme="SCT",  # SNOMED CT, a morphologic abnormality; DICOM has no code of its own
    code="9656002",
    meaning="Consolidation",
)
_KINDS = (GROUND_GLASS, CONSOLIDATION)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What one output of the network means; the defaults are the output of contract 1.

    Parameters
    ----------
    name
        Name of the graph output, probabilities (n, channels, size, size).
    activation
        ``sigmoid``: a channel for each class, with a probability of its own. ``softmax``: the classes exclude
        each other, channel 0 is the background, and the channels of a pixel sum to 1.
    thresholds
        One for each class: a voxel belongs to it where its probability, resized to the scan's grid and scaled
        by the temperature, is at least this. None of them with ``softmax`` means the largest channel.
    temperature
        Calibration: the logits of what the network gives are divided by it, so that the probability of a
        ``sigmoid`` is sigmoid(logit(p) / temperature).
    """

    name: str = "infection_probability"
    activation: str = SIGMOID
    classes: tuple[ClassSpec, ...] = (INFECTION_CLASS,)
    thresholds: tuple[float, ...] = (0.5,)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.activation not in (SIGMOID, SOFTMAX):
            raise ManifestError(
                f"output '{self.name}' has activation '{self.activation}', this version knows "
                f"'{SIGMOID}' and '{SOFTMAX}'; update infnet or export the model again",
                code=4022,
            )
        if not self.classes:
            raise ManifestError(f"output '{self.name}' has no classes", code=4024)
        check_once("value", (c.value for c in self.classes), f"output '{self.name}'")
        argmax = self.activation == SOFTMAX and not self.thresholds
        if len(self.thresholds) != len(self.classes) and not argmax:
            raise ManifestError(
                f"output '{self.name}' has {len(self.thresholds)} thresholds for {len(self.classes)} "
                "classes, expected one for each",
                code=4024,
            )
        for threshold in self.thresholds:
            if not 0 < threshold < 1:
                raise ManifestError(f"threshold is {threshold}, expected between 0 and 1", code=4023)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ManifestError(
                f"temperature is {self.temperature}, expected a finite number above 0", code=4023
            )

    @property
    def channels(self) -> int:
        """Channels of the graph output."""
        return len(self.classes) + (self.activation == SOFTMAX)

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """Values of its label map, each with its name and code."""
        keys = ("name", "scheme", "code", "meaning")
        return {str(c.value): {key: getattr(c, key) for key in keys} for c in self.classes}

    @property
    def has_infection(self) -> bool:
        """Whether one of the classes is the infection."""
        return any(c.name == INFECTION for c in self.classes)

    @property
    def tells_classes(self) -> bool:
        """Whether it tells ground glass from consolidation, with the values that the class map has."""
        found = [(c.value, c.name) for c in self.classes]
        return self.activation == SOFTMAX and found == [(c.value, c.name) for c in _KINDS]

    @property
    def infection_channel(self) -> int:
        """Channel of the infection, in the output that has it."""
        return [c.name for c in self.classes].index(INFECTION)

    @property
    def threshold(self) -> float:
        """Threshold of the infection, in the output that has it."""
        return self.thresholds[self.infection_channel]


CLASS_OUTPUT = OutputSpec(
    name="class_probability",
    activation=SOFTMAX,
    classes=_KINDS,
    thresholds=(),
)
"""The output that tells ground glass from consolidation, beside that of the infection.

Asked where the infection mask is, it says which of the two is more probable, so a threshold is not needed.
"""
