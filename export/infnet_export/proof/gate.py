"""Whether a smaller model still gives the same masks and volumes, on labelled slices and scans.

Distances in probability say little about a mask: what counts is how far Dice moves against the labels, and
how far the infected volume moves. Both are taken for each set, because opposite shifts in two sets would
cancel. A picture has no voxel size, so its volume is counted in pixels; the relative shift is the same.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from infnet_runtime import Segmenter
from infnet_runtime.arrays import BoolArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.errors import GateError
from infnet_runtime.metrics import Confusion, LabelledSlice, confusion
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.slices.preprocess import predict_slice

LabelledVolume = tuple[str, CtVolume, BoolArray]
"""Name, scan, and truth (i, j, k) in the order of the scan."""

LARGEST_DICE_SHIFT = 0.003
LARGEST_VOLUME_SHIFT = 0.01
_NAMED = 5  # costs in a message


@dataclass(frozen=True)
class Limits:
    """Largest shifts that pass.

    Parameters
    ----------
    dice
        Mean over the cases of a set of how far the Dice moves, up or down.
    volume
        Of the infected volume of a set, as a share of the reference's.
    """

    dice: float = LARGEST_DICE_SHIFT
    volume: float = LARGEST_VOLUME_SHIFT


@dataclass(frozen=True)
class SetShift:
    """Two models on one labelled set.

    Parameters
    ----------
    cases
        Number of slices or scans.
    dice_reference, dice_candidate
        Means over the cases; a case without infection in truth and mask counts as 1.
    dice_shift
        Mean over the cases of the absolute difference, which is at least that of the means.
    size_reference, size_candidate : ml or pixels
        Infection found, all cases together.
    volume_shift
        Their relative difference; infinite where the candidate alone finds something.
    unit
        Of the sizes.
    passed
        Whether both shifts are within the limits.
    """

    cases: int
    dice_reference: float
    dice_candidate: float
    dice_shift: float
    size_reference: float
    size_candidate: float
    volume_shift: float
    unit: str
    passed: bool


@dataclass(frozen=True)
class GateReport:
    """Two models on all sets."""

    reference_sha256: str
    candidate_sha256: str
    limits: Limits
    sets: dict[str, SetShift]

    @property
    def passed(self) -> bool:
        """Whether every set passed."""
        return all(one.passed for one in self.sets.values())

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold; an infinite shift is ``None``."""
        values = asdict(self)
        for one in values["sets"].values():
            one["volume_shift"] = one["volume_shift"] if math.isfinite(one["volume_shift"]) else None
        return {**values, "passed": self.passed}

    def to_table(self) -> str:
        """The sets as a table in Markdown."""
        head = [
            "| set | cases | Dice | Dice shift | infection | volume shift | |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        rows = [
            f"| {name} | {s.cases} | {s.dice_reference:.4f} -> {s.dice_candidate:.4f} | {s.dice_shift:.4f} "
            f"| {s.size_reference:.0f} -> {s.size_candidate:.0f} {s.unit} | {s.volume_shift:.2%} "
            f"| {'passed' if s.passed else 'failed'} |"
            for name, s in self.sets.items()
        ]
        return "\n".join(head + rows)


@dataclass(frozen=True)
class _Case:
    """One slice or scan through both models."""

    counts: tuple[Confusion, Confusion]
    sizes: tuple[float, float]
    unit: str


def compare_models(
    reference: Session,
    candidate: Session,
    slices: Mapping[str, Sequence[LabelledSlice]],
    volumes: Mapping[str, Sequence[LabelledVolume]] | None = None,
    *,
    limits: Limits = Limits(),
) -> GateReport:
    """Measure how far a candidate moves masks and volumes.

    Each model works at the threshold and temperature of its own manifest.

    Parameters
    ----------
    slices
        Name of a set to its slices, each run whole.
    volumes
        Name of a set to its scans, which take the whole path of the segmenter: lungs, box, threshold.

    Raises
    ------
    GateError
        If there is nothing to compare on, or a model returns anything but probabilities.
    """
    sets: dict[str, SetShift] = {}
    for name, members in slices.items():
        sets[name] = _shift(name, (_slice_case(reference, candidate, one) for one in members), limits)
    for name, scans in (volumes or {}).items():
        segmenters = Segmenter(reference), Segmenter(candidate)
        sets[name] = _shift(name, (_volume_case(*segmenters, one) for one in scans), limits)
    if not sets:
        raise GateError("no labelled set to compare the models on; name at least one", code=7033)
    return GateReport(reference.model_sha256, candidate.model_sha256, limits, sets)


def check_gate(report: GateReport, costs: Sequence[tuple[str, float]] = ()) -> None:
    """Refuse a candidate that moves masks or volumes too far.

    Parameters
    ----------
    costs
        Part of the model to what its quantisation costs in probability, for the message.

    Raises
    ------
    GateError
        Naming the sets that failed and the costliest parts.
    """
    failed = [
        f"{name}: Dice moves by {one.dice_shift:.4f}, the infected volume by {one.volume_shift:.2%}"
        for name, one in report.sets.items()
        if not one.passed
    ]
    if not failed:
        return
    costliest = sorted(costs, key=lambda cost: -cost[1])[:_NAMED]
    named = ", ".join(f"{name} ({cost:.1e})" for name, cost in costliest)
    parts = f"; the costliest parts are {named}" if costliest else ""
    raise GateError(
        f"the candidate is too far from the reference on {len(failed)} of {len(report.sets)} sets "
        f"({'; '.join(failed)}), expected at most {report.limits.dice:g} and {report.limits.volume:.0%}"
        f"{parts}; keep more of the model in float, or calibrate on more slices",
        code=7034,
    )


def _slice_case(reference: Session, candidate: Session, labelled: LabelledSlice) -> _Case:
    _, grey, truth = labelled
    masks = []
    for session in (reference, candidate):
        manifest = session.manifest
        probability = predict_slice(
            grey,
            manifest.preprocess,
            partial(infection_probability, session),
            temperature=manifest.output.temperature,
        )
        masks.append(probability >= manifest.output.threshold)
    found, other = masks
    return _Case(
        (confusion(found, truth), confusion(other, truth)),
        (float(found.sum()), float(other.sum())),
        "pixels",
    )


def _volume_case(reference: Segmenter, candidate: Segmenter, labelled: LabelledVolume) -> _Case:
    _, volume, truth = labelled
    found = reference.predict(volume)
    other = candidate.predict(volume, lungs=found.lungs)  # the lungs do not depend on the model
    voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    return _Case(
        (confusion(found.mask > 0, truth), confusion(other.mask > 0, truth)),
        (float(found.mask.sum()) * voxel_ml, float(other.mask.sum()) * voxel_ml),
        "ml",
    )


def _shift(name: str, cases: Iterable[_Case], limits: Limits) -> SetShift:
    rows = list(cases)
    if not rows:
        raise GateError(f"set '{name}' has no labelled case to compare the models on", code=7033)
    dice = np.array([[1.0 if c.is_empty else c.dice for c in row.counts] for row in rows], np.float64)
    before, after = np.array([row.sizes for row in rows]).sum(0).tolist()
    dice_shift = float(np.abs(dice[:, 1] - dice[:, 0]).mean())
    volume_shift = abs(after - before) / before if before else (0.0 if after == before else math.inf)
    return SetShift(
        cases=len(rows),
        dice_reference=float(dice[:, 0].mean()),
        dice_candidate=float(dice[:, 1].mean()),
        dice_shift=dice_shift,
        size_reference=before,
        size_candidate=after,
        volume_shift=volume_shift,
        unit=rows[0].unit,
        # written so that NaN fails
        passed=dice_shift <= limits.dice and volume_shift <= limits.volume,
    )
