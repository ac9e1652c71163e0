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
from infnet_runtime.metrics.paper import PaperReport, PaperScores, paper_report, paper_scores

LabelledSlice = tuple[str, ByteArray, BoolArray]
"""Name, grey (rows, columns) and truth (rows, columns)."""


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores of a set of slices; ``paper`` is absent where it was not asked for.

    Parameters
    ----------
    images
        By the paper's protocol, each slice; as many as the volumes of ``clinical``, or none.
    """

    clinical: ClinicalReport
    paper: PaperReport | None
    images: tuple[PaperScores, ...]


def score_slices(
    slices: Iterable[LabelledSlice],
    predict: Callable[[ByteArray], FloatArray],
    *,
    threshold: float,
    paper: bool = True,
    paper_map: Callable[[FloatArray], FloatArray] = lambda probability: probability,
    seen: Callable[[str, FloatArray], None] = lambda name, probability: None,
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
    seen
        Is given the name of each slice and its probability.

    Raises
    ------
    InputError
        If there is no slice, or a pair is not valid.
    """
    scored = []
    for name, image, truth in slices:
        found = predict(image)
        seen(name, found)
        scored.append((name, found, truth))
    volumes = [EvaluatedVolume(*one) for one in scored]
    clinical = evaluate_clinical(volumes, ClinicalProtocol(empty="one", threshold=threshold))
    images = tuple(paper_scores(paper_map(found), truth) for _, found, truth in scored) if paper else ()
    return SliceScores(clinical, paper_report(images) if paper else None, images)
