"""Agreement of ground glass and consolidation with the truth, by both protocols, each class as a mask.

The paper's Table III averages a class over the images whose truth has it: the authors' tool gives an image
without it 0 for everything, and the paper's consolidation is the tool's number times 48 / 38. Ground glass is
in all of its 48 images. In the clinical protocol every slice counts, one without the class in prediction and
truth as 1; what hardly any slice has is better read from the pooled numbers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.metrics.clinical import (
    ClinicalProtocol,
    ClinicalReport,
    EvaluatedVolume,
    evaluate_clinical,
)
from infnet_runtime.metrics.paper import PaperReport, PaperScores, paper_report, paper_scores
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS

CLASS_VALUES: Mapping[str, int] = {"ground_glass": GROUND_GLASS.value, "consolidation": CONSOLIDATION.value}
"""Classes by name, with their value in a label map."""

_COUNTED = (0, *CLASS_VALUES.values())

ClassifiedSlice = tuple[str, ByteArray, ByteArray]
"""Name, label map that was found, and true label map; (rows, columns) both."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class.

    Parameters
    ----------
    clinical
        Over all slices.
    paper
        Over the slices whose truth has the class; None where none has.
    """

    clinical: ClinicalReport
    paper: PaperReport | None


def score_classes(slices: Iterable[ClassifiedSlice]) -> dict[str, ClassScores]:
    """Score label maps: 0 background, 1 ground glass, 2 consolidation.

    Pixels whose true label is another one, of unknown class or to be ignored, are neither found nor true.

    Returns
    -------
    Scores of each class, by name

    Raises
    ------
    InputError
        If there is no slice, two have one name, or a pair is not valid.
    """
    masks: dict[str, list[tuple[str, BoolArray, BoolArray]]] = {name: [] for name in CLASS_VALUES}
    for case, found, truth in slices:
        counted = np.isin(truth, _COUNTED)
        for name, value in CLASS_VALUES.items():
            masks[name].append((case, (found == value) & counted, truth == value))
    return {name: _scored(cases) for name, cases in masks.items()}


def _scored(cases: list[tuple[str, BoolArray, BoolArray]]) -> ClassScores:
    clinical = evaluate_clinical((EvaluatedVolume(*case) for case in cases), ClinicalProtocol(empty="one"))
    images = [_of_image(found, truth) for _, found, truth in cases if truth.any()]
    return ClassScores(clinical, paper_report(images) if images else None)


def _of_image(found: BoolArray, truth: BoolArray) -> PaperScores:
    return paper_scores(np.where(found, 255, 0).astype(np.uint8), truth)
