"""What two results of the same scans are judged by, and the report on it."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from infnet_runtime.backends import Session
from infnet_runtime.errors import GateError
from infnet_runtime.metrics.mask_limits import (
    LIMITS,
    ML,
    PIXELS,
    MaskPair,
    faults_of_pictures,
    faults_of_scan,
)
from infnet_runtime.metrics.parity import (
    FP16_TOLERANCE,
    FP32_TOLERANCE,
    Parity,
    Tolerance,
)
from infnet_runtime.model.arithmetic import FLOAT32
from infnet_runtime.version import __version__

SCHEMA = "infnet.verify/1"
_WIDTHS = (9, 9, 11, 8, 24, 0)  # of the columns of the table


@dataclass(frozen=True, kw_only=True)
class Side:
    """What computed one of the two results.

    Parameters
    ----------
    precision
        What it really computed in.
    """

    model: str
    version: str
    sha256: str
    backend: str
    device: str
    precision: str

    @classmethod
    def of(cls, session: Session) -> "Side":
        """What a session says of itself."""
        manifest = session.manifest
        return cls(
            model=manifest.name,
            version=manifest.version,
            sha256=session.model_sha256,
            backend=session.backend,
            device=session.device,
            precision=session.precision,
        )

    def __str__(self) -> str:
        return (
            f"{self.model} {self.version} ({self.sha256[:12]}), {self.backend} on {self.device}, "
            f"{self.precision}"
        )


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """Both results of one scan.

    Parameters
    ----------
    distances
        Of the probabilities on the network's grid, the worst over the outputs; None where no slice went
        through the network.
    masks
        Infection that counts, on the scan's grid.
    faults
        What of this scan is beyond the limits.
    """

    name: str
    distances: Parity | None
    masks: MaskPair
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """Two sides on all scans.

    Parameters
    ----------
    allowed
        For the probabilities of a scan; None where the masks alone count, because less than single precision
        was computed in.
    faults
        What is beyond the limits, of all scans.
    """

    candidate: Side
    reference: Side
    allowed: Tolerance | None
    scans: tuple[ScanResult, ...]
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is within the limits."""
        return not self.faults

    def check(self) -> None:
        """Refuse what is beyond the limits.

        Raises
        ------
        GateError
            Naming all of it.
        """
        if self.faults:
            raise GateError(
                f"{self.candidate} is too far from {self.reference}: {'; '.join(self.faults)}. Do not use it "
                "here: choose another --backend or --device, or export the model again",
                code=7003,
            )

    def to_json(self) -> str:
        """For machines."""
        plain = asdict(self)
        for scan, found in zip(plain["scans"], self.scans, strict=True):
            scan["masks"]["dice"] = found.masks.agreement
        document = {
            "schema": SCHEMA,
            "infnet": __version__,
            "passed": self.passed,
            **plain,
            "limits": asdict(LIMITS),
        }
        return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """A table: a line for each scan."""
        lines = [f"checked    {self.candidate}", f"reference  {self.reference}", ""]
        longest = max(len(scan.name) for scan in self.scans)
        lines.append(_row(" " * longest, ("largest", "mean", "other side", "Dice", "infection", "")))
        for scan in self.scans:
            d, masks = scan.distances, scan.masks
            before, after = masks.sizes
            cells = [
                f"{d.largest_distance:.1e}" if d else "-",
                f"{d.mean_distance:.1e}" if d else "-",
                f"{d.differing_pixels} px" if d else "-",
                f"{masks.agreement:.5f}",
                f"{before:.1f} -> {after:.1f} {masks.unit}",
                "failed" if scan.faults else "",
            ]
            lines.append(_row(scan.name.ljust(longest), cells))
        lines += ["", *(f"failed: {fault}" for fault in self.faults)]
        if self.passed:
            lines.append(f"passed: {self._limits()}")
        return "\n".join(line.rstrip() for line in lines)

    def _limits(self) -> str:
        units = dict.fromkeys(scan.masks.unit for scan in self.scans)
        pictures = f"the infection by at most {LIMITS.volume:.0%} or {LIMITS.few_pixels:g} pixels a picture"
        words = [LIMITS.in_words(unit) if unit == ML else pictures for unit in units]
        if self.allowed:
            words.insert(
                0, f"probabilities by at most {self.allowed.largest:g}, {self.allowed.mean:g} on average"
            )
        return "; ".join(words)


@dataclass(frozen=True, eq=False)
class Compared:
    """One scan on both sides, not judged yet."""

    distances: Parity | None
    masks: MaskPair


def report_of(candidate: Side, reference: Side, compared: Iterable[Compared]) -> VerifyReport:
    """Judge what was compared.

    Raises
    ------
    GateError
        If no slice was.
    """
    rows = list(compared)
    if not any(row.distances for row in rows):
        raise GateError(
            "no slice of these scans went through the network, so nothing was compared; give scans in which "
            "lungs are found",
            code=7004,
        )
    allowed = None
    if candidate.precision == FLOAT32:
        # Another file of the same weights may have them stored in half precision.
        allowed = FP32_TOLERANCE if candidate.sha256 == reference.sha256 else FP16_TOLERANCE
    scans = []
    for row in rows:
        faults = [] if row.masks.unit == PIXELS else faults_of_scan(row.masks, LIMITS)
        if row.distances and math.isnan(row.distances.largest_distance):
            faults.append(f"{row.masks.name} has probabilities that are not finite")
        elif row.distances and allowed:
            faults += [f"{row.masks.name} differs in {fault}" for fault in allowed.faults(row.distances)]
        scans.append(
            ScanResult(name=row.masks.name, distances=row.distances, masks=row.masks, faults=tuple(faults))
        )
    pictures = [row.masks.sizes for row in rows if row.masks.unit != ML]
    before, after = (sum(sizes) for sizes in zip(*pictures, strict=True)) if pictures else (0.0, 0.0)
    return VerifyReport(
        candidate=candidate,
        reference=reference,
        allowed=allowed,
        scans=tuple(scans),
        faults=(
            *(fault for scan in scans for fault in scan.faults),
            *faults_of_pictures(before, after, len(pictures), LIMITS),
        ),
    )


def _row(name: str, cells: Iterable[str]) -> str:
    return "  ".join([name, *(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))])


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The same with None for what is no number, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
