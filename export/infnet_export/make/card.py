"""What the person who exports says of the model, and the numbers that travel with it."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from infnet_runtime.errors import InputError
from infnet_runtime.model.manifest import OutputSpec


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the person who exports says; see :class:`~infnet_runtime.model.manifest.ModelManifest`.

    Parameters
    ----------
    name
        Of the model; None takes that of its network.
    slices_alone
        Whether a network that was trained on slices between their neighbours is given each slice alone.
    """

    name: str | None = None
    version: str = "0.1.0"
    licence: str = "not stated"
    training_data: str = "not stated"
    threshold: float = OutputSpec().threshold
    temperature: float = OutputSpec().temperature
    metrics: dict[str, float] = field(default_factory=dict)
    slices_alone: bool = False


def read_metrics(path: Path) -> dict[str, float]:
    """Numbers for the manifest: one JSON object, name to number.

    Raises
    ------
    InputError
        If the file is missing or holds anything else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read metrics from {path}: {error}; expected JSON", code=3123) from error
    numbers = isinstance(found, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in found.values()
    )
    if not numbers:
        raise InputError(f"{path} is not one object of names and finite numbers", code=3123)
    return {name: float(value) for name, value in found.items()}
