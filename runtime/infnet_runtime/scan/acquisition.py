"""How a scan was taken and stored, as far as its files say: what decides whether two can be compared.

Nothing in it is about the patient.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gap:
    """Planes that are missing.

    Parameters
    ----------
    after
        Index of the plane before the gap, in stored order.
    mm
        From that plane to the next that is there.
    missing
        Number of planes.
    instance_uid
        Of the plane before the gap.
    """

    after: int
    mm: float
    missing: int
    instance_uid: str

    def to_dict(self) -> dict[str, Any]:
        """For the report; ``after_slice`` counts from 1."""
        return {
            "after_slice": self.after + 1,
            "mm": round(self.mm, 3),
            "missing": self.missing,
            "instance_uid": self.instance_uid,
        }


@dataclass(frozen=True)
class Acquisition:
    """What the headers say; empty or None where they do not.

    Parameters
    ----------
    description
        Of the series.
    scanner
        Manufacturer and model.
    is_lossy
        Whether the pixels were once compressed with a loss.
    gaps
        Where planes are missing, which the user allowed.
    """

    description: str = ""
    kernel: str = ""
    thickness_mm: float | None = None
    kvp: float | None = None
    scanner: str = ""
    contrast: bool = False
    is_lossy: bool = False
    gaps: tuple[Gap, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the report. The description is left out: people type names into it."""
        return {
            "kernel": self.kernel or None,
            "thickness_mm": self.thickness_mm,
            "kvp": self.kvp,
            "scanner": self.scanner or None,
            "contrast": self.contrast,
            "lossy_compressed": self.is_lossy,
            "gaps": [gap.to_dict() for gap in self.gaps],
        }
