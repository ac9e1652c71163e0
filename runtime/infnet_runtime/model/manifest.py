"""What travels inside a model file: the preprocessing contract, the meaning of the outputs, the origin.

The manifest is JSON in the ONNX metadata under :data:`METADATA_KEY`. The runtime refuses a model without it,
with another contract version, or with a key it does not know, because a default would give a plausible mask
from a wrong input. ``docs/contract.md`` explains each value.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Self

from infnet_runtime.model import contract_1
from infnet_runtime.model.false_marks import FalseMarks
from infnet_runtime.model.slice_gate import SliceGate
from infnet_runtime.model.specs import (
    EQUAL,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INFECTION,
    SIGMOID,
    ClassSpec,
    ManifestError,
    OutputSpec,
    PreprocessSpec,
    check_once,
)
from infnet_runtime.plain import NoTable, WrongKeys, WrongValue, from_plain, values_of_json

__all__ = [
    "CONTRACT_VERSION",
    "ENTRY_KEY",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "METADATA_KEY",
    "READ_VERSIONS",
    "ClassSpec",
    "ManifestError",
    "ModelManifest",
    "OutputSpec",
    "PreprocessSpec",
]

CONTRACT_VERSION = contract_1.VERSION
"""Of what is written."""

READ_VERSIONS = (contract_1.VERSION, 2)
METADATA_KEY = "infnet.manifest"
ENTRY_KEY = "infnet.entry"
"""Metadata of a file that takes slices in HU: the name of the input, its unit, rows and columns, as JSON."""


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
    outputs
        What the network gives; one of them has the class ``infection``.
    created_with
        Package name to version.
    metrics
        Name, with data set and protocol, to value; the names of
        :class:`~infnet_runtime.model.false_marks.FalseMarks` and of
        :class:`~infnet_runtime.model.slice_gate.SliceGate` have a meaning.
    """

    name: str
    version: str
    licence: str
    training_data: str
    weights_sha256: str
    preprocess: PreprocessSpec = field(default_factory=PreprocessSpec)
    outputs: tuple[OutputSpec, ...] = (OutputSpec(),)
    created_with: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    contract_version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        version, outputs = self.contract_version, self.outputs
        if version not in READ_VERSIONS:
            raise ManifestError(f"contract is {version}, expected one of {READ_VERSIONS}", code=4022)
        FalseMarks.of(self.metrics)  # refuses numbers that cannot be
        SliceGate.of(self.metrics)
        check_once("output", (o.name for o in outputs), "the outputs")
        check_once("class", (c.name for o in outputs for c in o.classes), "the outputs")
        if [o.activation for o in outputs if o.has_infection] != [SIGMOID]:
            raise ManifestError(
                f"outputs are {', '.join(o.name for o in outputs)}; expected among them one with the class "
                f"'{INFECTION}' and activation '{SIGMOID}'",
                code=4024,
            )
        simple = len(outputs) == len(outputs[0].classes) == 1 and self.preprocess.channels == EQUAL
        if version == contract_1.VERSION and not simple:
            raise ManifestError(
                "several outputs or classes, and neighbours as channels, need contract 2; this is contract 1",
                code=4024,
            )

    @property
    def output(self) -> OutputSpec:
        """The output that has the infection."""
        return next(o for o in self.outputs if o.has_infection)

    @property
    def false_marks(self) -> FalseMarks | None:
        """What the model marks where there is no infection; None where it was not measured."""
        return FalseMarks.of(self.metrics)

    @property
    def class_output(self) -> OutputSpec | None:
        """The output that tells ground glass from consolidation; None where there is none."""
        return next((o for o in self.outputs if o.tells_classes), None)

    @property
    def slice_gate(self) -> SliceGate | None:
        """From which score on a slice counts as infected; None where the model does not say."""
        return SliceGate.of(self.metrics)

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """Values of the infection mask, each with its name and code."""
        return self.output.labels

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        values = dataclasses.asdict(self)
        if self.contract_version == contract_1.VERSION:
            values = contract_1.written(values)
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
            If the text is no manifest, has another contract version, lacks a key or has an unknown one, or
            contradicts itself.
        """
        try:
            values = values_of_json(text)
        except ValueError as error:
            raise ManifestError(f"{source}: the manifest is not JSON ({error})", code=4021) from error
        if not isinstance(values, dict):
            raise ManifestError(f"{source}: the manifest is not a JSON object", code=4021)
        version = values.get("contract_version")
        if version not in READ_VERSIONS:
            raise ManifestError(
                f"{source} follows preprocessing contract {version}, this version of infnet follows "
                f"{' and '.join(map(str, READ_VERSIONS))}; export the model again or install the matching "
                "infnet",
                code=4022,
            )
        try:
            if version == contract_1.VERSION:
                return cls(**contract_1.read(values, source))
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
