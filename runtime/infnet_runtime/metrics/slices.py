"""Both protocols on labelled slices, each at its own size."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.metrics.clinical import (
    ClinicalProtocol,
    ClinicalReport,
    EvaluatedVolume,
    evaluate_clinical,
)
from infnet_runtime.metrics.paper import PaperReport, evaluate_paper

LabelledSlice = tuple[str, ByteArray, BoolArray]
"""Name, grey (rows, columns) and truth (rows, columns)."""


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores of a set of slices; ``paper`` is absent where it was not asked for."""

    clinical: ClinicalReport
    paper: PaperReport | None


def score_slices(
    slices: Iterable[LabelledSlice],
    predict: Callable[[ByteArray], FloatArray],
    *,
    threshold: float,
    paper: bool = True,
    paper_map: Callable[[FloatArray], FloatArray] = lambda probability: probability,
) -> SliceScores:
    """Score a model on slices that stand for themselves; where both are empty the clinical score is 1.

    Each slice counts as a volume of its own, so the intervals are too narrow where slices share a patient.

    Parameters
    ----------
    predict
        Grey (rows, columns) to infection probability (rows, columns).
    threshold
        Of the clinical protocol.
    paper_map
        What the paper's protocol scores instead of the probability: it knows no calibration.

    Raises
    ------
    InputError
        If there is no slice, or a pair is not valid.
    """
    scored = [(name, predict(image), truth) for name, image, truth in slices]
    volumes = [EvaluatedVolume(*one) for one in scored]
    clinical = evaluate_clinical(volumes, ClinicalProtocol(empty="one", threshold=threshold))
    stretched = evaluate_paper((paper_map(found), truth) for _, found, truth in scored) if paper else None
    return SliceScores(clinical, stretched)
