"""What travels inside a model file: the preprocessing contract, the meaning of the output, the origin.

The manifest is JSON in the ONNX metadata under :data:`METADATA_KEY`. The runtime refuses a model without it,
with another contract version, or with a key it does not know, because a default would give a plausible mask
from a wrong input. ``docs/contract.md`` explains each value.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Self

from infnet_runtime.errors import ModelError
from infnet_runtime.plain import NoTable, WrongKeys, WrongValue, from_plain

CONTRACT_VERSION = 1
METADATA_KEY = "infnet.manifest"

Labels = dict[str, dict[str, str]]

INFECTION_LABELS: Labels = {
    "1": {
        "name": "infection",
        "scheme": "SCT",  # SNOMED CT
        "code": "882784691000119100",
        "meaning": "Pneumonia caused by severe acute respiratory syndrome coronavirus 2",
    }
}
"""Values of the mask, with the code that a DICOM segmentation or a report gives them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ManifestError(ModelError):
    """The manifest is absent, foreign, of another version, or contradicts itself."""


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
        Normalisation of the three equal channels (ImageNet, as in the original code).
    orientation, kernel
        Named so that another contract is recognised: canonical orientation of the slices, and the resize
        (separable triangle filter, antialiased when it shrinks, as Pillow's "bilinear").
    """

    window_hu: tuple[float, float] = (-1050.0, 250.0)
    crop_margin_mm: float = 5.0
    size: int = 352
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    orientation: str = "LPS"
    kernel: str = "triangle-antialias"

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


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the network's output means.

    Parameters
    ----------
    name
        Name of the graph output, probabilities (n, 1, size, size) of infection.
    threshold
        A voxel is infected where the probability, resized to the scan's grid and scaled by the temperature,
        is at least this.
    temperature
        Calibration: the probability is sigmoid(logit(p) / temperature) of what the network gives. Written to
        the file only where it is not 1, so that older versions read what they can keep and refuse the rest.
    """

    name: str = "infection_probability"
    threshold: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ManifestError(f"threshold is {self.threshold}, expected between 0 and 1", code=4023)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ManifestError(
                f"temperature is {self.temperature}, expected a finite number above 0", code=4023
            )


@dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """Everything a host needs to know about a model file.

    Parameters
    ----------
    name, version
        Name of the model and its version.
    licence
        What the weights may be used for.
    training_data
        One line on the data behind the weights.
    weights_sha256
        Hash of the trained weights (safetensors file) that were exported.
    created_with
        Package name to version.
    metrics
        Name, with data set and protocol, to value.
    labels
        Value in the mask to its name and code.
    """

    name: str
    version: str
    licence: str
    training_data: str
    weights_sha256: str
    preprocess: PreprocessSpec = PreprocessSpec()
    output: OutputSpec = OutputSpec()
    created_with: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    labels: Labels = field(default_factory=lambda: INFECTION_LABELS)
    contract_version: int = CONTRACT_VERSION

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, no temperature where it is 1."""
        values = dataclasses.asdict(self)
        if self.output.temperature == 1:
            del values["output"]["temperature"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Self:
        """Read a manifest.

        Parameters
        ----------
        source
            The model file, for messages.

        Raises
        ------
        ManifestError
            If the text is no manifest, has another contract version, lacks a key or has an unknown one.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"{source}: the manifest is not JSON ({error})", code=4021) from error
        if not isinstance(values, dict):
            raise ManifestError(f"{source}: the manifest is not a JSON object", code=4021)
        version = values.get("contract_version")
        if version != CONTRACT_VERSION:
            raise ManifestError(
                f"{source} follows preprocessing contract {version}, this version of infnet follows "
                f"{CONTRACT_VERSION}; export the model again or install the matching infnet",
                code=4022,
            )
        values = {"labels": INFECTION_LABELS, **values}  # absent in the first model
        if isinstance(values.get("output"), dict):
            values["output"] = {"temperature": 1.0, **values["output"]}  # absent: not calibrated
        try:
            return from_plain(cls, values, source, keys="every")
        except NoTable as error:
            raise ManifestError(
                f"{error.place}: found {type(error.found).__name__}, expected an object", code=4021
            ) from error
        except WrongKeys as error:
            raise ManifestError(
                f"{error.place}: the manifest has unknown keys {sorted(error.unknown)} and lacks "
                f"{sorted(error.missing)}; it was written by another version of infnet, export the model "
                "again",
                code=4021,
            ) from error
        except WrongValue as error:
            raise ManifestError(str(error), code=4021) from error
