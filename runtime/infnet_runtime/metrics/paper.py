"""The protocol of the paper: 256 thresholds on maps that are stretched to their own range.

Fan et al., "Inf-Net", IEEE TMI 2020, section IV-A, in the details of the authors' MATLAB tool, because the
published numbers depend on them:

- A map is stretched to [0, 1] by its own minimum and maximum; a constant map stays as it is. So every map has
  a pixel at 1, infected or not: this protocol cannot see a false alarm on a healthy slice. Use ``clinical``.
- The thresholds are MATLAB's ``1:-1/255:0``, which is computed from both ends. 14 of them lie one unit in the
  last place above a grey level k / 255; plain k / 255 moves mean Dice by 0.0002.
- Where prediction and truth have no pixel in common, Dice, sensitivity, precision and specificity are 0. A
  slice without infection therefore scores 0 whatever is predicted.
- Curves are averaged over the images, then over the thresholds.

Departure: the tool gives a NaN specificity for a truth that fills the image; here that truth is refused.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from infnet_runtime.arrays import BoolArray, DoubleArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics.confusion import Confusion, count_pixels
from infnet_runtime.metrics.inputs import Map, check_image, check_pair, unit_map
from infnet_runtime.metrics.structure import EPS, structure_score

EMeasureRule = Literal["above", "at_or_above"]
"""Pixels that the E-measure takes as positive: ``map > t``, as published, or ``map >= t``, as the authors'
tool does since November 2020."""

TINY = float(np.finfo(np.float64).tiny)  # below it the reciprocal is infinite


def paper_thresholds() -> DoubleArray:
    """MATLAB's ``1:-1/255:0``, descending.

    Returns
    -------
    (256,)

    Examples
    --------
    >>> import numpy as np
    >>> t = paper_thresholds()
    >>> float(t[0]), float(t[-1]), int(np.sum(t > np.arange(255, -1, -1) / 255))
    (1.0, 0.0, 14)
    """
    step = 1 / 255
    k = np.arange(256)
    return np.where(k <= 127, 1 - k * step, (255 - k) * step)


@dataclass(frozen=True, slots=True)
class AdaptiveScores:
    """Scores at the adaptive threshold, twice the mean of the stretched map but at most 1.

    Published as ``adpDic``, ``adpIoU``, ``adpSen``, ``adpSpe``, ``adpPre`` and ``adpEm``.
    """

    dice: float
    iou: float
    sensitivity: float
    specificity: float
    precision: float
    e_measure: float

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PaperScores:
    """Scores of one image; the curves follow ``paper_thresholds()``.

    Parameters
    ----------
    dice, sensitivity, specificity, precision, e_measure : (256,)
        One value for each threshold. The E-measure may exceed 1 slightly, as its sum is divided by n - 1.
    s_measure, mae
        Of the stretched map.
    """

    dice: DoubleArray
    sensitivity: DoubleArray
    specificity: DoubleArray
    precision: DoubleArray
    e_measure: DoubleArray
    s_measure: float
    mae: float
    adaptive: AdaptiveScores

    def to_dict(self) -> dict[str, Any]:
        """Means over the thresholds, as plain values for JSON."""
        return {
            "mean_dice": float(self.dice.mean()),
            "mean_sensitivity": float(self.sensitivity.mean()),
            "mean_specificity": float(self.specificity.mean()),
            "mean_precision": float(self.precision.mean()),
            "mean_e_measure": float(self.e_measure.mean()),
            "s_measure": self.s_measure,
            "mae": self.mae,
            "adaptive": self.adaptive.to_dict(),
        }


TABLE_COLUMNS = ("mean_dice", "mean_sensitivity", "mean_specificity", "s_measure", "mean_e_measure", "mae")
"""Of the paper's Tables II and III, as :class:`PaperReport` names them, in their order."""


@dataclass(frozen=True, slots=True)
class PaperReport:
    """Scores of a set of images.

    Parameters
    ----------
    mean_dice, mean_sensitivity, mean_specificity, mean_e_measure, s_measure, mae
        The columns of the paper's Tables II and III, in the tool ``meanDic``, ``meanSen``, ``meanSpe``,
        ``meanEm``, ``Sm`` and ``mae``.
    mean_precision, max_dice, max_e_measure
        Not in the paper; in the tool's files.
    adaptive
        Means over the images, each at its own threshold; IoU is Dice / (2 - Dice) of the mean Dice.
    curves : (256,) each
        Means over the images at each threshold, by name.
    """

    images: int
    mean_dice: float
    mean_sensitivity: float
    mean_specificity: float
    mean_precision: float
    mean_e_measure: float
    s_measure: float
    mae: float
    max_dice: float
    max_e_measure: float
    adaptive: AdaptiveScores
    curves: dict[str, DoubleArray]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the name of the protocol and without the curves."""
        scores = {name: value for name, value in asdict(self).items() if name != "curves"}
        return {"protocol": "paper", **scores}


def paper_scores(prediction: Map, truth: BoolArray, *, e_measure_rule: EMeasureRule = "above") -> PaperScores:
    """Score one image as the authors do.

    Parameters
    ----------
    prediction : (rows, columns)
        Probability in [0, 1] or a map in 8 bits. It is stretched to its own range here.
    truth : (rows, columns)
        Mask of the annotator. For 8 bits the authors take ``truth > 128``.
    e_measure_rule
        Side on which a pixel exactly at the threshold falls, for the E-measure alone.

    Raises
    ------
    InputError
        If the pair is not valid or the truth fills the image.
    """
    check_pair(prediction, truth, name="paper_scores")
    check_image(truth, name="the paper's protocol")
    if e_measure_rule not in get_args(EMeasureRule):
        raise InputError(
            f"E-measure rule {e_measure_rule!r} is not known, expected one of above, at_or_above", code=3097
        )
    if truth.all():
        raise InputError(
            "the truth fills the whole image, so the specificity of the paper's protocol is 0 / 0; "
            "leave the image out or use the clinical protocol",
            code=3088,
        )
    stretched = _stretch(unit_map(prediction))
    inside, outside, levels = _histograms(prediction, stretched, truth)
    thresholds = paper_thresholds()
    dice, sensitivity, specificity, precision = _overlap_curves(
        _count_from(levels, inside, thresholds, "at_or_above"),
        _count_from(levels, outside, thresholds, "at_or_above"),
        truth,
    )
    return PaperScores(
        dice=dice,
        sensitivity=sensitivity,
        specificity=specificity,
        precision=precision,
        e_measure=_e_measure(
            _count_from(levels, inside, thresholds, e_measure_rule),
            _count_from(levels, outside, thresholds, e_measure_rule),
            truth,
        ),
        s_measure=structure_score(stretched, truth),
        mae=float(np.abs(stretched - truth).mean()),
        adaptive=_adaptive_scores(stretched, truth, e_measure_rule),
    )


def paper_report(scores: Iterable[PaperScores]) -> PaperReport:
    """Scores of a set: curves averaged over the images, then over the thresholds.

    Raises
    ------
    InputError
        If there is no image.
    """
    images = tuple(scores)
    if not images:
        raise InputError("no image to evaluate; a mean over nothing is not a number", code=3089)
    curves: dict[str, DoubleArray] = {
        name: np.stack([getattr(image, name) for image in images]).mean(axis=0)
        for name in ("dice", "sensitivity", "specificity", "precision", "e_measure")
    }
    return PaperReport(
        images=len(images),
        mean_dice=float(curves["dice"].mean()),
        mean_sensitivity=float(curves["sensitivity"].mean()),
        mean_specificity=float(curves["specificity"].mean()),
        mean_precision=float(curves["precision"].mean()),
        mean_e_measure=float(curves["e_measure"].mean()),
        s_measure=float(np.mean([image.s_measure for image in images])),
        mae=float(np.mean([image.mae for image in images])),
        max_dice=float(curves["dice"].max()),
        max_e_measure=float(curves["e_measure"].max()),
        adaptive=_mean_adaptive(tuple(image.adaptive for image in images)),
        curves=curves,
    )


def evaluate_paper(
    pairs: Iterable[tuple[Map, BoolArray]], *, e_measure_rule: EMeasureRule = "above"
) -> PaperReport:
    """Score a set of (prediction, truth) images; see ``paper_scores`` for one of them."""
    return paper_report(
        paper_scores(prediction, truth, e_measure_rule=e_measure_rule) for prediction, truth in pairs
    )


def _stretch(values: DoubleArray) -> DoubleArray:
    """MATLAB's ``mapminmax`` to [0, 1], which multiplies by the reciprocal of the range."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return values
    if high - low < TINY:
        return (values - low) / (high - low)
    return (values - low) * (1 / (high - low))


def _histograms(
    prediction: Map, stretched: DoubleArray, truth: BoolArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Pixels inside and outside the truth at each level of the map; 8 bits have 256 levels."""
    if prediction.dtype == np.uint8:
        codes = prediction.ravel()
        levels = np.zeros(256)
        levels[codes] = stretched.ravel()
        inside = np.bincount(codes[truth.ravel()], minlength=256).astype(np.float64)
        return inside, np.bincount(codes, minlength=256) - inside, levels
    inside = truth.ravel().astype(np.float64)  # a float map: each pixel is its own level
    return inside, 1 - inside, stretched.ravel()


def _count_from(
    levels: DoubleArray, counts: DoubleArray, thresholds: DoubleArray, rule: EMeasureRule
) -> DoubleArray:
    """Pixels above each of the descending thresholds."""
    ascending = thresholds[::-1]
    passed = np.searchsorted(ascending, levels, side="right" if rule == "at_or_above" else "left")
    per_bin = np.bincount(passed, weights=counts, minlength=len(thresholds) + 1)
    # a level that passed m thresholds is above the m lowest: count from the top, drop those that passed none
    return np.cumsum(per_bin[:0:-1])


def _overlap_curves(
    true_positive: DoubleArray, false_positive: DoubleArray, truth: BoolArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]:
    """Dice, sensitivity, specificity and precision, all 0 where nothing is in common."""
    positive = float(np.count_nonzero(truth))
    negative = truth.size - positive
    hit = true_positive > 0
    predicted = np.where(hit, true_positive + false_positive, 1)
    return (
        np.where(hit, 2 * true_positive / (positive + predicted), 0.0),
        np.where(hit, true_positive / max(positive, 1.0), 0.0),
        np.where(hit, (negative - false_positive) / negative, 0.0),
        np.where(hit, true_positive / predicted, 0.0),
    )


def _e_measure(true_positive: DoubleArray, false_positive: DoubleArray, truth: BoolArray) -> DoubleArray:
    """Enhanced-alignment measure, Fan et al., IJCAI 2018, from the counts of the four kinds of pixel."""
    pixels = truth.size
    positive = float(np.count_nonzero(truth))
    predicted = true_positive + false_positive
    if positive == 0:
        return (pixels - predicted) / (pixels - 1 + EPS)
    share_predicted, share_positive = predicted / pixels, positive / pixels
    total = np.zeros_like(predicted)
    for value, label, count in (
        (1, 1, true_positive),
        (1, 0, false_positive),
        (0, 1, positive - true_positive),
        (0, 0, pixels - positive - false_positive),
    ):
        a, b = value - share_predicted, label - share_positive
        alignment = 2 * a * b / (a * a + b * b + EPS)
        total += count * (alignment + 1) ** 2 / 4
    return total / (pixels - 1 + EPS)


def _adaptive_scores(stretched: DoubleArray, truth: BoolArray, rule: EMeasureRule) -> AdaptiveScores:
    threshold = min(1.0, 2 * float(stretched.mean()))
    counts = count_pixels(stretched, truth, threshold)
    positive = stretched > threshold if rule == "above" else stretched >= threshold
    hits = np.array([float(np.count_nonzero(positive & truth))])
    false_alarms = float(np.count_nonzero(positive)) - hits
    return AdaptiveScores(
        **_zero_without_overlap(counts), e_measure=float(_e_measure(hits, false_alarms, truth)[0])
    )


def _mean_adaptive(scores: tuple[AdaptiveScores, ...]) -> AdaptiveScores:
    """Means over the images; IoU is made from the mean Dice, as the tool does."""
    means = {name: float(np.mean([getattr(s, name) for s in scores])) for name in scores[0].to_dict()}
    return AdaptiveScores(**{**means, "iou": means["dice"] / (2 - means["dice"])})


def _zero_without_overlap(counts: Confusion) -> dict[str, float]:
    names = ("dice", "iou", "sensitivity", "specificity", "precision")
    if counts.true_positive == 0:
        return dict.fromkeys(names, 0.0)
    return {name: getattr(counts, name) for name in names}
