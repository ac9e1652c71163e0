"""Whether a smaller model still gives the same masks and volumes, on labelled slices and on whole scans.

Distances in probability say little about a mask: what counts is how far Dice moves against the labels, and
how far the infected volume moves. Both are taken for each set, because opposite shifts in two sets would
cancel. A picture has no voxel size, so its volume is counted in pixels; the relative shift is the same.

A scan goes the whole way from voxels to millilitres, and every scan counts by itself. Where it has no labels
the masks of the two models are compared with each other. The limits are in ``metrics`` of the runtime, whose
``infnet-infer verify`` holds what a device gives against the same ones.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infnet_export.proof.class_shift import (
    ClassShift,
    OneClass,
    classes_of_case,
    faults_of_class,
    limits_in_words,
    shift_of_class,
)
from infnet_runtime import Segmenter
from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.backends import Session
from infnet_runtime.backends.lungs import THRESHOLD
from infnet_runtime.backends.session import Outputs, classes_of, run_checked, whole_infection
from infnet_runtime.errors import GateError
from infnet_runtime.metrics import Confusion, LabelledSlice, confusion
from infnet_runtime.metrics.mask_limits import (
    LIMITS,
    ML,
    Limits,
    MaskPair,
    faults_of_pictures,
    faults_of_scan,
    mask_pair,
    share,
)
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.segment.class_map import ClassMap, classes_on_grid
from infnet_runtime.slices.preprocess import predict_slice

LabelledVolume = tuple[str, CtVolume, BoolArray | None]
"""Name, scan, and truth (i, j, k) in the order of the scan, where there is one."""

_NAMED = 5  # costs in a message


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
        What is beyond the limits, with value and limit, of the classes as well.
    classes
        Each class of the infection, where both models tell them apart.
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
    classes: tuple[ClassShift, ...] = ()

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
            if not one["classes"]:
                del one["classes"]
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
        return "\n".join([*head, *rows, "", *limits, *self._classes()])

    def _classes(self) -> list[str]:
        told = {name: one for name, one in self.sets.items() if one.classes}
        rows = [f"- {name}: {'; '.join(c.in_words() for c in one.classes)}" for name, one in told.items()]
        units = dict.fromkeys(one.unit for one in told.values())
        limits = [f"Allowed in {unit}: {limits_in_words(self.limits, unit)}." for unit in units]
        return ["", "Classes where the infection is:", "", *rows, "", *limits] if told else []


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
    classes
        In both label maps, where both models give one.
    """

    pair: MaskPair
    counts: tuple[Confusion, Confusion] | None
    classes: tuple[OneClass, ...] = ()


def compare_models(
    reference: Session,
    candidate: Session,
    slices: Mapping[str, Sequence[LabelledSlice]],
    volumes: Mapping[str, Iterable[LabelledVolume]] | None = None,
    *,
    limits: Limits = LIMITS,
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
        tell = None not in (reference.manifest.class_output, candidate.manifest.class_output)
        # The same lungs on both sides, to the bit, whatever computes: they are not what is compared.
        segmenters = (
            Segmenter(reference, classes=tell, lungs_by=THRESHOLD),
            Segmenter(candidate, classes=tell, lungs_by=THRESHOLD),
        )
        sets[name] = _shift(name, (_volume_case(*segmenters, one, say) for one in scans), limits)
    if not sets:
        raise GateError("no labelled set to compare the models on; name at least one", code=7033)
    return GateReport(reference.model_sha256, candidate.model_sha256, limits, sets)


def check_gate(
    report: GateReport,
    costs: Sequence[tuple[str, float]] = (),
    *,
    advice: str = "keep more of the model in float, or calibrate on more slices",
) -> None:
    """Refuse a candidate that moves masks or volumes too far.

    Parameters
    ----------
    costs
        Part of the model to what its quantisation costs in probability, for the message.
    advice
        What to do.

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
    limits += "".join(
        f"; {limits_in_words(report.limits, unit)}"
        for unit in dict.fromkeys(s.unit for s in failed.values() if s.classes)
    )
    costliest = sorted(costs, key=lambda cost: -cost[1])[:_NAMED]
    named = ", ".join(f"{name} ({cost:.1e})" for name, cost in costliest)
    parts = f"; the costliest parts are {named}" if costliest else ""
    raise GateError(
        f"the candidate is too far from the reference on {len(failed)} of {len(report.sets)} sets ({told}), "
        f"expected {limits}{parts}; {advice}",
        code=7034,
    )


def _slice_case(reference: Session, candidate: Session, labelled: LabelledSlice) -> _Case:
    name, grey, truth = labelled
    (found, kinds), (other, other_kinds) = (_told(session, grey) for session in (reference, candidate))
    output = reference.manifest.class_output
    classes: tuple[OneClass, ...] = ()
    if output and kinds is not None and other_kinds is not None:
        classes = classes_of_case(name, kinds, other_kinds, output, None)
    return _case(name, found, other, truth, None, classes)


def _told(session: Session, grey: ByteArray) -> tuple[BoolArray, ByteArray | None]:
    """Mask of a slice, and the classes in it."""
    manifest = session.manifest
    given: list[Outputs] = []

    def run(batch: FloatArray) -> FloatArray:
        given.append(run_checked(session, batch))
        return whole_infection(given[-1], session)

    probability = predict_slice(grey, manifest.preprocess, run, temperature=manifest.output.temperature)
    mask = probability >= manifest.output.threshold
    own = classes_of(given[-1], manifest)
    if own is None:
        return mask, None
    class_map = ClassMap((1, *mask.shape), slice(0, mask.shape[0]), slice(0, mask.shape[1]))
    class_map.tell(0, mask, classes_on_grid(own[0], *mask.shape))
    return mask, class_map.labels[0]


def _volume_case(
    reference: Segmenter, candidate: Segmenter, labelled: LabelledVolume, say: Callable[[str], None]
) -> _Case:
    name, volume, truth = labelled
    say(f"comparing masks and millilitres of {name}, {volume.voxels.shape} voxels")
    found, other = (segmenter.predict(volume) for segmenter in (reference, candidate))
    output, voxel_ml = reference.manifest.class_output, volume.voxel_volume_ml
    classes: tuple[OneClass, ...] = ()
    if output and found.classes is not None and other.classes is not None:
        classes = classes_of_case(name, found.classes, other.classes, output, voxel_ml)
    return _case(name, found.mask > 0, other.mask > 0, truth, voxel_ml, classes)


def _case(
    name: str,
    found: BoolArray,
    other: BoolArray,
    truth: BoolArray | None,
    voxel_ml: float | None,
    classes: tuple[OneClass, ...],
) -> _Case:
    counts = None if truth is None else (confusion(found, truth), confusion(other, truth))
    return _Case(mask_pair(name, found, other, voxel_ml), counts, classes)


def _shift(name: str, cases: Iterable[_Case], limits: Limits) -> SetShift:
    rows = list(cases)
    if not rows:
        raise GateError(f"set '{name}' has no labelled case to compare the models on", code=7033)
    pairs = [row.pair for row in rows]
    unit = pairs[0].unit
    worst = max(pairs, key=lambda pair: pair.differing)
    before, after = np.array([pair.sizes for pair in pairs]).sum(0).tolist()
    dice = np.array([_dice(row, limits.few(unit)) for row in rows if row.counts], np.float64).reshape(-1, 3)
    reference, candidate, dice_shift = dice.mean(0).tolist() if len(dice) else (None, None, 0.0)
    faults = []
    if not dice_shift <= limits.dice:  # written so that NaN fails
        faults.append(f"Dice moves by {dice_shift:.4f} on average (at most {limits.dice:g})")
    if unit == ML:
        faults += [fault for pair in pairs for fault in faults_of_scan(pair, limits)]
    else:
        faults += faults_of_pictures(before, after, len(pairs), limits)
    by_class = list(zip(*(row.classes for row in rows), strict=True))
    faults += [fault for cases in by_class for fault in faults_of_class(cases, limits)]
    return SetShift(
        cases=len(rows),
        dice_reference=reference,
        dice_candidate=candidate,
        dice_shift=dice_shift,
        size_reference=before,
        size_candidate=after,
        volume_shift=share(before, after),
        unit=unit,
        agreement=min(pair.agreement for pair in pairs),
        worst=f"{worst.name}: {worst.differing:.{1 if unit == ML else 0}f} {unit}",
        faults=tuple(faults),
        classes=tuple(shift_of_class(cases) for cases in by_class),
    )


def _dice(row: _Case, few: float) -> tuple[float, float, float]:
    """Of both masks against the truth, and how far it moves."""
    assert row.counts
    before, after = (1.0 if c.is_empty else float(c.dice or 0) for c in row.counts)
    return before, after, 0.0 if row.pair.differing <= few else abs(after - before)
