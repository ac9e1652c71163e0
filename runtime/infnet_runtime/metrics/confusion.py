"""Counts of agreement and disagreement, and the ratios made of them."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics.inputs import Map, check_pair

Ratio = Literal["dice", "iou", "sensitivity", "precision", "specificity"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixels by prediction and truth.

    A ratio is ``None`` where it is 0 / 0: nobody can be sensitive to an infection that is not there. What
    a set makes of such a case is a rule of its protocol.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def __post_init__(self) -> None:
        if min(self.true_positive, self.false_positive, self.false_negative, self.true_negative) < 0:
            raise InputError(f"counts of pixels cannot be negative, found {self}", code=3086)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def is_empty(self) -> bool:
        """Neither the prediction nor the truth has a pixel."""
        return self.true_positive + self.false_positive + self.false_negative == 0

    @property
    def pixels(self) -> int:
        """All four together."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    def terms(self, measure: Ratio) -> tuple[int, int]:
        """Numerator and denominator of a ratio, for those who sum over cases first."""
        hits, false_alarms, misses = self.true_positive, self.false_positive, self.false_negative
        match measure:
            case "dice":
                return 2 * hits, 2 * hits + false_alarms + misses
            case "iou":
                return hits, hits + false_alarms + misses
            case "sensitivity":
                return hits, hits + misses
            case "precision":
                return hits, hits + false_alarms
            case "specificity":
                return self.true_negative, self.true_negative + false_alarms

    def ratio(self, measure: Ratio) -> float | None:
        """Value of a ratio, ``None`` where it is 0 / 0."""
        numerator, denominator = self.terms(measure)
        return numerator / denominator if denominator else None

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        return self.ratio("dice")

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN)."""
        return self.ratio("iou")

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN)."""
        return self.ratio("sensitivity")

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP)."""
        return self.ratio("precision")

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP)."""
        return self.ratio("specificity")

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


def confusion(prediction: Map, truth: BoolArray, *, threshold: float = 0.5) -> Confusion:
    """Count the pixels of a prediction cut at one threshold.

    Parameters
    ----------
    prediction : any shape
        Probability in [0, 1], a map in 8 bits (taken as value / 255), or a mask. Positive where it is at or
        above ``threshold``.
    truth : shape of ``prediction``
        Mask of the annotator.

    Examples
    --------
    >>> import numpy as np
    >>> confusion(np.array([0.9, 0.5, 0.1, 0.1]), np.array([True, False, True, False]))
    Confusion(true_positive=1, false_positive=1, false_negative=1, true_negative=1)
    """
    check_pair(prediction, truth, name="confusion")
    return count_pixels(prediction, truth, threshold)


def count_pixels(prediction: Map, truth: BoolArray, threshold: float) -> Confusion:
    """Count a pair that has been checked."""
    if prediction.dtype == np.uint8:
        positive = (np.arange(256) / 255 >= threshold)[prediction]
    else:
        positive = prediction >= threshold
    true_positive = int(np.count_nonzero(positive & truth))
    false_positive = int(np.count_nonzero(positive)) - true_positive
    false_negative = int(np.count_nonzero(truth)) - true_positive
    return Confusion(
        true_positive=true_positive,
        false_positive=false_positive,
        false_negative=false_negative,
        true_negative=truth.size - true_positive - false_positive - false_negative,
    )
