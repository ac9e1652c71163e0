"""Agreement of a prediction with the truth, under two protocols that must not be mixed.

``paper`` reproduces the authors' published tables: maps stretched to their own range, 256 thresholds.
``clinical`` is what a segmentation is worth in use: the probability as it is, one threshold, a named rule
for slices without infection, and an interval with every number. On the same maps of the authors the two give
a mean Dice of 0.682 and 0.738, so every number quoted needs its protocol beside it.
"""

from infnet_runtime.metrics.classes import CLASS_VALUES, ClassifiedSlice, ClassScores, score_classes
from infnet_runtime.metrics.clinical import (
    ClinicalProtocol,
    ClinicalReport,
    EmptyRule,
    Estimate,
    EvaluatedVolume,
    Summary,
    VolumeResult,
    evaluate_clinical,
)
from infnet_runtime.metrics.confusion import Confusion, confusion
from infnet_runtime.metrics.paper import (
    TABLE_COLUMNS,
    AdaptiveScores,
    EMeasureRule,
    PaperReport,
    PaperScores,
    evaluate_paper,
    paper_report,
    paper_scores,
    paper_thresholds,
)
from infnet_runtime.metrics.slices import LabelledSlice, SliceScores, score_slices
from infnet_runtime.metrics.structure import s_measure

__all__ = [
    "CLASS_VALUES",
    "TABLE_COLUMNS",
    "AdaptiveScores",
    "ClassScores",
    "ClassifiedSlice",
    "ClinicalProtocol",
    "ClinicalReport",
    "Confusion",
    "EMeasureRule",
    "EmptyRule",
    "Estimate",
    "EvaluatedVolume",
    "LabelledSlice",
    "PaperReport",
    "PaperScores",
    "SliceScores",
    "Summary",
    "VolumeResult",
    "confusion",
    "evaluate_clinical",
    "evaluate_paper",
    "paper_report",
    "paper_scores",
    "paper_thresholds",
    "s_measure",
    "score_classes",
    "score_slices",
]
