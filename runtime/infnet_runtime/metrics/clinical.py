"""The protocol for use: the probability as it is, one threshold, an interval with every number.

Every measure is given three times: as the mean over slices, as the mean over volumes, and pooled, with the
pixels of all volumes counted together. Rules for the ratios that are 0 / 0:

========================  =============================  =========================================
prediction, truth         Dice, IoU                      sensitivity, precision
========================  =============================  =========================================
both empty                by ``ClinicalProtocol.empty``  by ``ClinicalProtocol.empty``
prediction only           0                              precision 0, sensitivity left out
truth only                0                              sensitivity 0, precision left out
========================  =============================  =========================================

Specificity is left out where the truth fills the image. What is left out lowers ``Estimate.count`` and never
becomes a NaN. The slices of one patient resemble each other, so the bootstrap draws whole volumes, for the
slice means too; with one volume there is no interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, DoubleArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics.confusion import Confusion, Ratio, count_pixels
from infnet_runtime.metrics.inputs import Map, check_pair, unit_map

EmptyRule = Literal["one", "zero", "skip"]
"""Score of a slice or volume in which neither prediction nor truth has a pixel: 1, 0, or left out."""

OVERLAPS: tuple[Ratio, ...] = ("dice", "iou", "sensitivity", "precision")  # what ``EmptyRule`` speaks about
RATIOS: tuple[Ratio, ...] = (*OVERLAPS, "specificity")


@dataclass(frozen=True, slots=True)
class ClinicalProtocol:
    """Choices that change the numbers; quote them together.

    Parameters
    ----------
    empty
        Score where prediction and truth are both empty. Has no default, because it can move a mean over
        volumes with many healthy slices by half.
    threshold
        A pixel is positive where its probability is at or above this.
    resamples
        Number of draws of the bootstrap.
    confidence
        Share of the draws inside the percentile interval.
    seed
        Of the bootstrap; the same seed gives the same interval.
    """

    empty: EmptyRule
    threshold: float = 0.5
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.empty not in get_args(EmptyRule):
            raise InputError(
                f"empty rule {self.empty!r} is not known, expected one of {', '.join(get_args(EmptyRule))}",
                code=3090,
            )
        if not 0 < self.threshold <= 1:
            raise InputError(
                f"threshold {self.threshold:g} is outside (0, 1]; at 0 every pixel is positive", code=3091
            )
        if self.resamples < 100:
            raise InputError(
                f"{self.resamples} resamples are too few for a percentile interval, expected at least 100",
                code=3092,
            )
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence {self.confidence:g} is outside (0, 1), 0.95 is usual", code=3093)


@dataclass(frozen=True, slots=True)
class EvaluatedVolume:
    """A prediction with its truth.

    Parameters
    ----------
    name
        What messages and reports call it.
    prediction, truth : (slices, rows, columns) or (rows, columns)
        Probability in [0, 1], 8 bits or a mask; and the mask of the annotator. An image is one slice.
    """

    name: str
    prediction: Map
    truth: BoolArray

    def __post_init__(self) -> None:
        check_pair(self.prediction, self.truth, name=self.name)
        if self.truth.ndim not in (2, 3):
            raise InputError(
                f"{self.name}: shape {self.truth.shape}, expected (slices, rows, columns) or (rows, columns)",
                code=3094,
            )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its uncertainty.

    Parameters
    ----------
    value
        ``None`` where every case was left out.
    low, high, standard_error
        Percentile interval and standard deviation of the bootstrap; ``None`` where fewer than two volumes
        have a value.
    count
        Cases that entered: slices, volumes, or volumes pooled.
    """

    value: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All measures at one level; ``mae`` is the mean distance of the probability from the truth."""

    dice: Estimate
    iou: Estimate
    sensitivity: Estimate
    precision: Estimate
    specificity: Estimate
    mae: Estimate


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """One volume: its pixels counted together. ``None`` is a measure left out."""

    name: str
    slices: int
    counts: Confusion
    dice: float | None
    iou: float | None
    sensitivity: float | None
    precision: float | None
    specificity: float | None
    mae: float


@dataclass(frozen=True, slots=True)
class ClinicalReport:
    """Result for a set of volumes."""

    protocol: ClinicalProtocol
    per_slice: Summary
    per_volume: Summary
    pooled: Summary
    volumes: tuple[VolumeResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the name and the settings of the protocol."""
        return {**asdict(self), "protocol": {"name": "clinical", **asdict(self.protocol)}}


def evaluate_clinical(volumes: Iterable[EvaluatedVolume], protocol: ClinicalProtocol) -> ClinicalReport:
    """Score a set of volumes.

    Parameters
    ----------
    volumes
        Taken one at a time, so an iterator that loads them keeps one in memory.

    Raises
    ------
    InputError
        If there is no volume, or two have the same name.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[True, True, False, False]])
    >>> found = EvaluatedVolume("case 1", np.array([[0.9, 0.2, 0.7, 0.1]]), truth)
    >>> missed = EvaluatedVolume("case 2", np.zeros((1, 4)), truth)
    >>> report = evaluate_clinical([found, missed], ClinicalProtocol(empty="skip"))
    >>> report.per_volume.dice.value, report.pooled.sensitivity.value
    (0.25, 0.25)
    """
    scored = tuple(_score_volume(volume, protocol) for volume in volumes)
    if not scored:
        raise InputError("no volume to evaluate; a mean over nothing is not a number", code=3095)
    names = [one.result.name for one in scored]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"volume {twice!r} is given twice and would count twice", code=3096)
    draws = _Draws.of(len(scored), protocol)
    return ClinicalReport(
        protocol=protocol,
        per_slice=Summary(
            **{m: draws.mean(tuple(one.slice_ratios[m] for one in scored)) for m in RATIOS},
            mae=draws.mean(tuple(one.slice_errors for one in scored)),
        ),
        per_volume=Summary(
            **{m: draws.mean(tuple(_present(one.ratios[m]) for one in scored)) for m in RATIOS},
            mae=draws.mean(tuple(_present(one.result.mae) for one in scored)),
        ),
        pooled=Summary(
            **{m: draws.pooled(m, tuple(one.result.counts for one in scored)) for m in RATIOS},
            mae=draws.ratio([(one.error_sum, one.result.counts.pixels) for one in scored], count=len(scored)),
        ),
        volumes=tuple(one.result for one in scored),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """A volume with the values of its slices; of the ratios, those that were not left out."""

    result: VolumeResult
    ratios: dict[Ratio, float | None]
    slice_ratios: dict[Ratio, DoubleArray]
    slice_errors: DoubleArray
    error_sum: float


def _score_volume(volume: EvaluatedVolume, protocol: ClinicalProtocol) -> _Scored:
    shape = (-1, *volume.truth.shape[-2:])  # (rows, columns) -> (1, rows, columns)
    # slice by slice, as a volume in double precision would not fit beside the scan
    pairs = list(zip(volume.prediction.reshape(shape), volume.truth.reshape(shape), strict=True))
    counts = [count_pixels(p, t, protocol.threshold) for p, t in pairs]
    errors = np.array([float(np.abs(unit_map(p) - t).sum()) for p, t in pairs])
    total = sum(counts[1:], start=counts[0])
    ratios = {m: _measure(total, m, protocol.empty) for m in RATIOS}
    return _Scored(
        result=VolumeResult(
            name=volume.name,
            slices=len(pairs),
            counts=total,
            dice=ratios["dice"],
            iou=ratios["iou"],
            sensitivity=ratios["sensitivity"],
            precision=ratios["precision"],
            specificity=ratios["specificity"],
            mae=float(errors.sum()) / total.pixels,
        ),
        ratios=ratios,
        slice_ratios={m: _present(*(_measure(one, m, protocol.empty) for one in counts)) for m in RATIOS},
        slice_errors=errors / pairs[0][1].size,
        error_sum=float(errors.sum()),
    )


def _measure(counts: Confusion, measure: Ratio, empty: EmptyRule) -> float | None:
    if measure in OVERLAPS and counts.is_empty:
        return _empty_score(empty)
    return counts.ratio(measure)


def _empty_score(empty: EmptyRule) -> float | None:
    return {"one": 1.0, "zero": 0.0, "skip": None}[empty]


def _present(*values: float | None) -> DoubleArray:
    return np.array([value for value in values if value is not None], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Draws:
    """Bootstrap over volumes: how often each draw holds each of them.

    Every estimate is a sum over volumes divided by another, so a draw is a product with these weights.
    """

    weights: npt.NDArray[np.int64]  # (resamples, volumes)
    protocol: ClinicalProtocol

    @classmethod
    def of(cls, volumes: int, protocol: ClinicalProtocol) -> "_Draws":
        rng = np.random.default_rng(protocol.seed)
        even = np.full(volumes, 1 / volumes)
        return cls(rng.multinomial(volumes, even, size=protocol.resamples), protocol)

    def mean(self, values: tuple[DoubleArray, ...]) -> Estimate:
        """Mean of the values of all volumes; each volume brings none, one or many."""
        terms = [(float(one.sum()), one.size) for one in values]
        return self.ratio(terms, count=sum(one.size for one in values))

    def pooled(self, measure: Ratio, counts: tuple[Confusion, ...]) -> Estimate:
        """Ratio of the counts of all volumes."""
        total = sum(counts[1:], start=counts[0])
        if measure in OVERLAPS and total.is_empty:
            value = _empty_score(self.protocol.empty)
            return Estimate(value, None, None, None, 0 if value is None else len(counts))
        return self.ratio([one.terms(measure) for one in counts], count=len(counts))

    def ratio(self, terms: Sequence[tuple[float, int]], *, count: int) -> Estimate:
        """Sum over sum, one pair for each volume; a draw without any case has no value and is left out."""
        numerator, denominator = np.array(terms, dtype=np.float64).T
        if denominator.sum() == 0:
            return Estimate(None, None, None, None, 0)
        value = float(numerator.sum() / denominator.sum())
        if np.count_nonzero(denominator) < 2:
            return Estimate(value, None, None, None, count)
        drawn = self.weights @ denominator
        usable = drawn > 0
        values = (self.weights @ numerator)[usable] / drawn[usable]
        tail = (1 - self.protocol.confidence) / 2
        low, high = np.quantile(values, (tail, 1 - tail))
        return Estimate(value, float(low), float(high), float(values.std(ddof=1)), count)
