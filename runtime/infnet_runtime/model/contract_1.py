"""The text of contract 1: the manifest of models with one output, as it stands in files. It does not change.

Newer contracts, and what the values mean, are in :mod:`~infnet_runtime.model.manifest`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from infnet_runtime.model.specs import INFECTION_CLASS, ClassSpec, OutputSpec, PreprocessSpec
from infnet_runtime.plain import from_plain

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _Preprocess:
    window_hu: tuple[float, float]
    crop_margin_mm: float
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    orientation: str
    kernel: str


@dataclass(frozen=True, kw_only=True)
class _Output:
    name: str
    threshold: float
    temperature: float


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    name: str
    version: str
    licence: str
    training_data: str
    weights_sha256: str
    preprocess: _Preprocess
    output: _Output
    created_with: dict[str, str]
    metrics: dict[str, float]
    labels: dict[str, dict[str, str]]
    contract_version: int


def read(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Plain values of a file -> the fields of a manifest.

    Raises
    ------
    PlainError
        If a key is missing or unknown, or a value is of another type.
    ManifestError
        If the contract cannot be kept.
    """
    values = {"labels": OutputSpec(classes=(INFECTION_CLASS,)).labels, **values}  # absent in the first model
    if isinstance(values.get("output"), dict):
        values["output"] = {"temperature": 1.0, **values["output"]}  # absent: not calibrated
    text = from_plain(_Manifest, values, source, keys="every")
    classes = tuple(
        from_plain(ClassSpec, {"value": _number(value), **label}, f"{source}: labels", keys="every")
        for value, label in text.labels.items()
    )
    output = OutputSpec(
        name=text.output.name,
        classes=classes,
        thresholds=(text.output.threshold,),
        temperature=text.output.temperature,
    )
    fields = {f.name: getattr(text, f.name) for f in dataclasses.fields(text)}
    del fields["labels"], fields["output"]
    return {**fields, "preprocess": PreprocessSpec(**vars(text.preprocess)), "outputs": (output,)}


def written(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a manifest, as ``dataclasses.asdict`` gives them -> plain values for a file.

    The temperature is written only where it is not 1: older versions of infnet read what they can keep, and
    refuse the rest.
    """
    text = dict(fields)
    (output,) = text.pop("outputs")
    classes, (threshold,) = output["classes"], output["thresholds"]
    text["output"] = {"name": output["name"], "threshold": threshold}
    if output["temperature"] != 1:
        text["output"]["temperature"] = output["temperature"]
    text["labels"] = {str(c["value"]): {key: c[key] for key in c if key != "value"} for c in classes}
    text["preprocess"] = {f.name: fields["preprocess"][f.name] for f in dataclasses.fields(_Preprocess)}
    return text


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
