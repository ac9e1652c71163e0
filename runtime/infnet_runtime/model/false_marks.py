"""A model's level of false marks: what it marks where there is no infection.

It stands among the metrics of the manifest, under fixed names, and not under a key of its own: versions of
infnet that do not know it read the file all the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from infnet_runtime.model.specs import ManifestError

_ML, _PERCENT, _SCANS = "false_marks_ml", "false_marks_percent", "false_marks_scans"
FALSE_MARKS_KEYS = (_ML, _PERCENT, _SCANS)


@dataclass(frozen=True, kw_only=True)
class FalseMarks:
    """The most that a model marked in a scan without infection.

    Parameters
    ----------
    ml : ml
    percent : % of the lungs
        Of the scan with the largest share, not necessarily that with the most millilitres.
    scans
        How many were measured.

    Raises
    ------
    ManifestError
        If a number cannot be.
    """

    ml: float
    percent: float
    scans: int

    def __post_init__(self) -> None:
        if not (0 <= self.ml < math.inf and 0 <= self.percent <= 100 and self.scans >= 1):
            raise ManifestError(
                f"false marks are {self.ml} ml and {self.percent} % in {self.scans} scans; expected 0 or "
                "more, 0 to 100, and 1 or more: measure with benchmarks/false_marks.py",
                code=4023,
            )

    def metrics(self) -> dict[str, float]:
        """As they stand among the metrics of a manifest."""
        return {_ML: self.ml, _PERCENT: self.percent, _SCANS: self.scans}

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Self | None:
        """From the metrics of a manifest; None where they were not measured.

        Examples
        --------
        >>> FalseMarks.of({"false_marks_ml": 30.0, "false_marks_percent": 0.8, "false_marks_scans": 5})
        FalseMarks(ml=30.0, percent=0.8, scans=5)
        """
        if not set(FALSE_MARKS_KEYS) <= metrics.keys():
            return None
        return cls(ml=metrics[_ML], percent=metrics[_PERCENT], scans=int(metrics[_SCANS]))
