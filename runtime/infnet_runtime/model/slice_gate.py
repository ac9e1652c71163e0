"""A model's slice gate: from which score on a slice counts as infected.

A number among the metrics of the manifest, under fixed names, as the level of false marks is: a file with it
runs in every version of infnet, and each model carries its own. ``benchmarks/slice_gate.py`` chooses and
measures it. Inf-Net marks healthy slices too (paper, section IV.F); its future work names a classifier that
sorts slices first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from infnet_runtime.model.specs import ManifestError

_MM2, _SENSITIVITY, _SPECIFICITY, _SLICES = (
    f"slice_gate_{name}" for name in ("mm2", "sensitivity", "specificity", "slices")
)
SLICE_GATE_KEYS = (_MM2, _SENSITIVITY, _SPECIFICITY, _SLICES)


@dataclass(frozen=True, kw_only=True)
class SliceGate:
    """From which score on a slice counts as infected, and how often that is right.

    Parameters
    ----------
    mm2 : mm2
        The least score, an area marked in the lungs; see
        :class:`~infnet_runtime.measure.slices.SliceFinding`.
    sensitivity, specificity
        Measured on slices with lung of cases that did not choose ``mm2``: shares of the infected ones that
        pass, and of the others that do not.
    slices
        How many were measured.

    Raises
    ------
    ManifestError
        If a number cannot be.
    """

    mm2: float
    sensitivity: float
    specificity: float
    slices: int

    def __post_init__(self) -> None:
        shares = all(0 <= share <= 1 for share in (self.sensitivity, self.specificity))
        if not (0 < self.mm2 < math.inf and shares and self.slices >= 1):
            raise ManifestError(
                f"slice gate is {self.mm2} mm2 with sensitivity {self.sensitivity} and specificity "
                f"{self.specificity} on {self.slices} slices; expected above 0, twice 0 to 1, and 1 or more: "
                "measure with benchmarks/slice_gate.py",
                code=4023,
            )

    def lets_through(self, score_mm2: float) -> bool:
        """Whether a slice with this score counts as infected.

        Examples
        --------
        >>> gate = SliceGate(mm2=100.0, sensitivity=0.9, specificity=0.9, slices=50)
        >>> gate.lets_through(100.0), gate.lets_through(99.0)
        (True, False)
        """
        return score_mm2 >= self.mm2

    def metrics(self) -> dict[str, float]:
        """As they stand among the metrics of a manifest."""
        values = (self.mm2, self.sensitivity, self.specificity, self.slices)
        return dict(zip(SLICE_GATE_KEYS, values, strict=True))

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Self | None:
        """From the metrics of a manifest; None where the model has none."""
        if not set(SLICE_GATE_KEYS) <= metrics.keys():
            return None
        return cls(
            mm2=metrics[_MM2],
            sensitivity=metrics[_SENSITIVITY],
            specificity=metrics[_SPECIFICITY],
            slices=int(metrics[_SLICES]),
        )
