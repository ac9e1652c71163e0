"""What travels inside the file of a lung network: how slices become its input, and where it came from.

JSON in the ONNX metadata under :data:`LUNG_METADATA_KEY`, read as strictly as the manifest of the main model:
every key must be there and none may be unknown, because a default would give plausible lungs from a wrong
input. The output is fixed: ``lungs`` (n, 2, size, size), probabilities of the right and the left lung.
"""

import json
from dataclasses import dataclass, field
from typing import Self

from infnet_runtime.errors import ModelError
from infnet_runtime.plain import from_plain, to_plain, values_of_json

LUNG_METADATA_KEY = "infnet.lungs"
LUNG_CONTRACT = 1
LUNG_OUTPUT = "lungs"


@dataclass(frozen=True, kw_only=True)
class LungSpec:
    """How slices become the input of the lung network. Training and runtime use this one description.

    Parameters
    ----------
    window_hu : HU
        Mapped to 0 and 1: wide enough for open air, lung, soft tissue and bone to differ. 8-bit grey in a
        lung window is divided by 255 and shows about the same.
    size : pixels
        Side of the square into which the whole slice is fitted, in its true proportions, with black around.
    neighbour_mm : mm
        Distance of the planes below and above, the first and the last channel. The planes at the ends of a
        scan repeat.

    Raises
    ------
    ModelError
        If a value cannot be.
    """

    window_hu: tuple[float, float] = (-1050.0, 250.0)
    size: int = 160
    neighbour_mm: float = 10.0

    def __post_init__(self) -> None:
        low, high = self.window_hu
        if not low < high or self.size < 32 or self.size % 32 or not self.neighbour_mm > 0:
            raise ModelError(
                f"lung network with window {low:g}..{high:g} HU, size {self.size} and neighbours at "
                f"{self.neighbour_mm:g} mm; expected a window that rises, a multiple of 32 and a distance",
                code=4023,
            )


@dataclass(frozen=True, kw_only=True)
class LungManifest:
    """Everything a host needs to know about the file of a lung network.

    Parameters
    ----------
    contract
        Version of what is written here.
    name, version
        Of the model.
    licence
        What the weights may be used for.
    training_data
        One line on the data behind the weights.
    weights_sha256
        Hash of the trained weights (safetensors file).
    created_with
        Package name to version.
    metrics
        Name, with data set and protocol, to value.

    Raises
    ------
    ModelError
        If the contract is another one.
    """

    contract: int = LUNG_CONTRACT
    name: str
    version: str
    licence: str
    training_data: str
    weights_sha256: str
    created_with: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    spec: LungSpec = field(default_factory=LungSpec)

    def __post_init__(self) -> None:
        if self.contract != LUNG_CONTRACT:
            raise ModelError(
                f"the lung network follows contract {self.contract}, this version knows {LUNG_CONTRACT}; "
                "update infnet or export the network again",
                code=4022,
            )

    def to_json(self) -> str:
        """As it is written into the file."""
        return json.dumps(to_plain(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Read what a file says.

        Raises
        ------
        ModelError
            If it is no JSON, lacks a key, has an unknown one, or a value cannot be.
        """
        try:
            return from_plain(cls, values_of_json(text), source, keys="every", to_float=True)
        except ValueError as error:
            raise ModelError(
                f"the manifest of the lung network {source} is refused ({error}); export it again",
                code=4021,
            ) from error
