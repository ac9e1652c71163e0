"""Whether a smaller model still gives the same masks and volumes, on labelled slices and on whole scans.

Distances in probability say little about a mask: what counts is how far Dice moves against the labels, and
how far the infected volume moves. Both are taken for each set, because opposite shifts in two sets would
cancel. A picture has no voxel size, so its volume is counted in pixels; the relative shift is the same.

A scan goes the whole way from voxels to millilitres, and every scan counts by itself. Where it has no labels
the masks of the two models are compared with each other. Of a small mask a share says nothing: a rim one
voxel wide is most of it. So what is small in millilitres, or in pixels, passes whatever share it is.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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

LabelledVolume = tuple[str, CtVolume, BoolArray | None]
"""Name, scan, and truth (i, j, k) in the order of the scan, where there is one."""

LARGEST_DICE_SHIFT = 0.003
LARGEST_VOLUME_SHIFT = 0.01
SMALLEST_AGREEMENT = 0.98
"""The shipped 8-bit model and the one in single precision agreed by 0.989 to 0.997 on three scans of 72 to
930 ml of infection, and by 0.990 on the phantom; their volumes differed by 0.1 to 0.8 %, in the smallest by
0.4 ml."""
FEW_ML = 1.0
"""Where the smallest of these scans differed in 1.6 ml of voxels, one of 12 ml would differ in half of one:
the rims of masks grow with the power 2/3 of their volume. The shipped model marks 15 to 28 ml in healthy
chests."""
FEW_PIXELS = 10
_NAMED = 5  # costs in a message
_ML, _PIXELS = "ml", "pixels"


@dataclass(frozen=True)
class Limits:
    """Largest shifts that pass.

    Parameters
    ----------
    dice
        Mean over the cases of a set of how far the Dice moves, up or down.
    volume
        Of the infected volume of a set of slices or of a scan, as a share of the reference's.
    agreement
        Smallest Dice between the two masks of a scan.
    few_ml : ml
        A volume may move by this much in any scan, and a scan whose masks differ in no more agrees.
    few_pixels : pixels
        The same of a slice.
    """

    dice: float = LARGEST_DICE_SHIFT
    volume: float = LARGEST_VOLUME_SHIFT
    agreement: float = SMALLEST_AGREEMENT
    few_ml: float = FEW_ML
    few_pixels: float = FEW_PIXELS

    def few(self, unit: str) -> float:
        """What is little of a unit."""
        return self.few_ml if unit == _ML else self.few_pixels

    def in_words(self, unit: str) -> str:
        """All that holds for cases of a unit."""
        size = f"the infection by at most {self.volume:.0%} or {self.few(unit):g} {unit}"
        if unit == _ML:
            return f"{size} in each scan, and masks with a Dice of {self.agreement:g} or differing in no more"
        return f"{size} a slice, and Dice by at most {self.dice:g}"


@dataclass(frozen=True)
class SetShift:
    """Two models on one labelled set.

    Parameters
    ----------
    cases
        Number of slices or scans.
    dice_reference, dice_candidate
        Means over the labelled cases; a case without infection in truth and mask counts as 1. None where
        nothing is labelled.
    dice_shift
        Mean over them of the absolute difference, which is at least that of the means. A case whose masks
        differ in little counts as 0.
    size_reference, size_candidate : ml or pixels
        Infection found, all cases together.
    volume_shift
        Their relative difference; infinite where the candidate alone finds something.
    unit
        Of the sizes.
    agreement
        Smallest Dice between the two masks of a case.
    worst
        Name of the case whose masks differ most, and by how much.
    faults
        What is beyond the limits, with value and limit.
    """

    cases: int
    dice_reference: float | None
    dice_candidate: float | None
    dice_shift: float
    size_reference: float
    size_candidate: float
    volume_shift: float
    unit: str
    agreement: float
    worst: str
    faults: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is within the limits."""
        return not self.faults


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
        for name, one in values["sets"].items():
            one["volume_shift"] = one["volume_shift"] if math.isfinite(one["volume_shift"]) else None
            one["passed"] = self.sets[name].passed
        return {**values, "passed": self.passed}

    def to_table(self) -> str:
        """The sets as a table in Markdown, and the limits."""
        head = [
            "| set | cases | Dice | Dice shift | infection | shift | smallest Dice between masks | worst | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        rows = [
            f"| {name} | {s.cases} | {_moved(s)} | {s.size_reference:.1f} -> {s.size_candidate:.1f} {s.unit} "
            f"| {s.volume_shift:.2%} | {s.agreement:.4f} | {s.worst} "
            f"| {'passed' if s.passed else '**failed**: ' + '; '.join(s.faults)} |"
            for name, s in self.sets.items()
        ]
        units = dict.fromkeys(s.unit for s in self.sets.values())
        limits = [f"Allowed in {unit}: {self.limits.in_words(unit)}." for unit in units]
        return "\n".join([*head, *rows, "", *limits])


def _moved(shift: SetShift) -> str:
    if shift.dice_reference is None or shift.dice_candidate is None:
        return "not labelled | -"
    return f"{shift.dice_reference:.4f} -> {shift.dice_candidate:.4f} | {shift.dice_shift:.4f}"


@dataclass(frozen=True)
class _Case:
    """One slice or scan through both models.

    Parameters
    ----------
    counts
        Of both masks against the truth, where there is one.
    differing
        How much belongs to one of the masks alone, in ``unit`` as the sizes.
    """

    name: str
    counts: tuple[Confusion, Confusion] | None
    sizes: tuple[float, float]
    differing: float
    unit: str

    @property
    def agreement(self) -> float:
        """Dice between the two masks; 1 if both are empty."""
        both = sum(self.sizes)
        return 1 - self.differing / both if both else 1.0


def compare_models(
    reference: Session,
    candidate: Session,
    slices: Mapping[str, Sequence[LabelledSlice]],
    volumes: Mapping[str, Iterable[LabelledVolume]] | None = None,
    *,
    limits: Limits = Limits(),
    say: Callable[[str], None] = lambda text: None,
) -> GateReport:
    """Measure how far a candidate moves masks and volumes.

    Each model works at the threshold and temperature of its own manifest.

    Parameters
    ----------
    slices
        Name of a set to its slices, each run whole.
    volumes
        Name of a set to its scans, which take the whole path of the segmenter: lungs, box, threshold.
    say
        Told what is compared next.

    Raises
    ------
    GateError
        If there is nothing to compare on, or a model returns anything but probabilities.
    """
    sets: dict[str, SetShift] = {}
    for name, members in slices.items():
        say(f"comparing masks of {len(members)} slices: {name}")
        sets[name] = _shift(name, (_slice_case(reference, candidate, one) for one in members), limits)
    for name, scans in (volumes or {}).items():
        segmenters = Segmenter(reference), Segmenter(candidate)
        sets[name] = _shift(name, (_volume_case(*segmenters, one, say) for one in scans), limits)
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
    failed = {name: one for name, one in report.sets.items() if not one.passed}
    if not failed:
        return
    told = "; ".join(f"{name}: {', '.join(one.faults)}" for name, one in failed.items())
    limits = "; ".join(
        report.limits.in_words(unit) for unit in dict.fromkeys(s.unit for s in failed.values())
    )
    costliest = sorted(costs, key=lambda cost: -cost[1])[:_NAMED]
    named = ", ".join(f"{name} ({cost:.1e})" for name, cost in costliest)
    parts = f"; the costliest parts are {named}" if costliest else ""
    raise GateError(
        f"the candidate is too far from the reference on {len(failed)} of {len(report.sets)} sets ({told}), "
        f"expected {limits}{parts}; keep more of the model in float, or calibrate on more slices",
        code=7034,
    )


def _slice_case(reference: Session, candidate: Session, labelled: LabelledSlice) -> _Case:
    name, grey, truth = labelled
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
    return _case(name, found, other, truth, 1.0, _PIXELS)


def _volume_case(
    reference: Segmenter, candidate: Segmenter, labelled: LabelledVolume, say: Callable[[str], None]
) -> _Case:
    name, volume, truth = labelled
    say(f"comparing masks and millilitres of {name}, {volume.voxels.shape} voxels")
    found, other = (segmenter.predict(volume).mask > 0 for segmenter in (reference, candidate))
    return _case(name, found, other, truth, volume.voxel_volume_ml, _ML)


def _case(
    name: str, found: BoolArray, other: BoolArray, truth: BoolArray | None, size: float, unit: str
) -> _Case:
    counts = None if truth is None else (confusion(found, truth), confusion(other, truth))
    sizes = float(found.sum()) * size, float(other.sum()) * size
    return _Case(name, counts, sizes, float((found != other).sum()) * size, unit)


def _shift(name: str, cases: Iterable[_Case], limits: Limits) -> SetShift:
    rows = list(cases)
    if not rows:
        raise GateError(f"set '{name}' has no labelled case to compare the models on", code=7033)
    unit = rows[0].unit
    worst = max(rows, key=lambda row: row.differing)
    before, after = np.array([row.sizes for row in rows]).sum(0).tolist()
    dice = np.array([_dice(row, limits.few(unit)) for row in rows if row.counts], np.float64).reshape(-1, 3)
    reference, candidate, dice_shift = dice.mean(0).tolist() if len(dice) else (None, None, 0.0)
    faults = []
    if not dice_shift <= limits.dice:  # written so that NaN fails
        faults.append(f"Dice moves by {dice_shift:.4f} on average (at most {limits.dice:g})")
    if unit == _ML:
        faults += [fault for row in rows for fault in _faults_of_scan(row, limits)]
    elif not abs(after - before) <= max(limits.volume * before, limits.few_pixels * len(rows)):
        faults.append(
            f"the infection moves from {before:.0f} to {after:.0f} pixels, by {_share(before, after):.2%} "
            f"(at most {limits.volume:.0%})"
        )
    return SetShift(
        cases=len(rows),
        dice_reference=reference,
        dice_candidate=candidate,
        dice_shift=dice_shift,
        size_reference=before,
        size_candidate=after,
        volume_shift=_share(before, after),
        unit=unit,
        agreement=min(row.agreement for row in rows),
        worst=f"{worst.name}: {worst.differing:.{1 if unit == _ML else 0}f} {unit}",
        faults=tuple(faults),
    )


def _dice(row: _Case, few: float) -> tuple[float, float, float]:
    """Of both masks against the truth, and how far it moves."""
    assert row.counts
    before, after = (1.0 if c.is_empty else float(c.dice or 0) for c in row.counts)
    return before, after, 0.0 if row.differing <= few else abs(after - before)


def _faults_of_scan(row: _Case, limits: Limits) -> list[str]:
    before, after = row.sizes
    faults = []
    if not abs(after - before) <= max(limits.volume * before, limits.few_ml):
        faults.append(
            f"{row.name} moves from {before:.1f} to {after:.1f} ml, by {_share(before, after):.2%} (at most "
            f"{limits.volume:.0%} or {limits.few_ml:g} ml)"
        )
    if not (row.agreement >= limits.agreement or row.differing <= limits.few_ml):
        faults.append(
            f"the masks of {row.name} agree by a Dice of {row.agreement:.4f} and differ in "
            f"{row.differing:.1f} ml (at least {limits.agreement:g}, or at most {limits.few_ml:g} ml)"
        )
    return faults


def _share(before: float, after: float) -> float:
    return abs(after - before) / before if before else (0.0 if after == before else math.inf)
