"""Coarse logits: another output of the graph, from which the probabilities follow by enlarging.

A network ends with logits on a grid that is some times coarser than its input; the graph enlarges them and
takes the sigmoid. A file may give the logits before that step as well. Then a program that wants a mask need
not have everything enlarged, and copies fewer numbers. How they are enlarged stands in the metadata under
:data:`COARSE_KEY`; ``docs/contract.md`` explains each value.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from infnet_runtime.model.manifest import ManifestError, ModelManifest
from infnet_runtime.model.specs import SIGMOID
from infnet_runtime.plain import PlainError, from_plain, to_plain, values_of_json

COARSE_KEY = "infnet.coarse"
COARSE_OUTPUT = "coarse_logits"
"""What ``infnet-export`` calls the output."""

LINEAR, HALF_PIXEL = "linear", "half_pixel"

OutputShapes: TypeAlias = Mapping[str, tuple[int, int, int]]
"""Output of a graph to its channels, rows and columns."""


@dataclass(frozen=True, kw_only=True)
class CoarseSpec:
    """An output with coarse logits, and how the probabilities follow from it.

    Parameters
    ----------
    output
        Name of the graph output, logits (n, channels, size / factor, size / factor).
    probability
        Name of the output with the infection, to which they lead; the graph has it too.
    factor
        How many times the logits are enlarged, along rows and columns.
    mode, positions
        ``linear`` with ``half_pixel`` centres: a new pixel lies at ``(i + 0.5) / factor - 0.5``; beyond the
        outermost centres the outermost value counts. As ``Resize`` of ONNX with these words, and as
        :func:`infnet_runtime.slices.preprocess.resize`.
    activation
        What follows: ``sigmoid``.
    """

    output: str = COARSE_OUTPUT
    probability: str
    factor: int
    mode: str = LINEAR
    positions: str = HALF_PIXEL
    activation: str = SIGMOID

    def __post_init__(self) -> None:
        if (self.mode, self.positions, self.activation) != (LINEAR, HALF_PIXEL, SIGMOID):
            raise ManifestError(
                f"coarse logits are enlarged with '{self.mode}' and '{self.positions}', then "
                f"'{self.activation}'; this version knows '{LINEAR}' and '{HALF_PIXEL}', then '{SIGMOID}'; "
                "update infnet or export the model again",
                code=4054,
            )
        if self.factor < 2:
            raise ManifestError(
                f"coarse logits are enlarged {self.factor} times, expected 2 or more", code=4055
            )

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(to_plain(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Self:
        """Read what a file says of its coarse logits.

        Parameters
        ----------
        source
            The model file, for messages.

        Raises
        ------
        ManifestError
            If the text is damaged, lacks a key, or says what this version does not know.
        """
        try:
            return from_plain(cls, values_of_json(text), f"{source}: {COARSE_KEY}", keys="every")
        except PlainError as error:
            raise ManifestError(f"{error}; update infnet or export the model again", code=4054) from error
        except ValueError as error:
            raise ManifestError(f"{source}: {COARSE_KEY} is not JSON ({error})", code=4054) from error

    def check(self, manifest: ModelManifest) -> None:
        """Refuse what contradicts the manifest.

        Raises
        ------
        ManifestError
            If they do not lead to the infection, if the manifest has an output of their name, or if its size
            is no multiple of the factor.
        """
        names, size = [o.name for o in manifest.outputs], manifest.preprocess.size
        if self.probability != manifest.output.name or self.output in names or size % self.factor:
            raise ManifestError(
                f"coarse logits '{self.output}' lead to '{self.probability}' by {self.factor} times, "
                f"expected a name of their own, the infection '{manifest.output.name}', and {size} pixels to "
                "be a multiple; export the model again",
                code=4055,
            )

    def shape(self, manifest: ModelManifest) -> tuple[int, int, int]:
        """Channels, rows and columns of the logits."""
        size = manifest.preprocess.size // self.factor
        return manifest.output.channels, size, size


def outputs_given(manifest: ModelManifest, coarse: CoarseSpec | None = None) -> OutputShapes:
    """What a session gives: every output of the manifest, coarse logits in the place of what they lead to."""
    size = manifest.preprocess.size
    return dict(
        (coarse.output, coarse.shape(manifest))
        if coarse and coarse.probability == o.name
        else (o.name, (o.channels, size, size))
        for o in manifest.outputs
    )


def outputs_promised(manifest: ModelManifest, coarse: CoarseSpec | None) -> OutputShapes:
    """What a file has: every output of the manifest, and its coarse logits if it says that there are some."""
    return {**outputs_given(manifest), **outputs_given(manifest, coarse)}
