"""Scores after an epoch: of the infection over the slices, of the classes over all pixels that are known."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from infnet_runtime.arrays import ByteArray
from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.assess.priors import Prior
from infnet_train.assess.validation import validation_scores
from infnet_train.data.datasets import LabelledSlices
from infnet_train.networks import ClassMaps, InfectionMap, Network

SIZE = 32
SPEC = dataclasses.replace(PreprocessSpec(), size=SIZE)
GREY = {0: 40, 1: 120, 2: 200}


class ByGrey(Network):
    """Knows the classes by the grey of ``GREY``."""

    def forward(self, x: Tensor) -> ClassMaps:
        grey = x[:, :1] * SPEC.std[0] + SPEC.mean[0]
        return ClassMaps(torch.cat([-100 * (grey - g / 255).abs() for g in GREY.values()], dim=1))


class Bright(Network):
    """Says that what is not dark is infected."""

    def forward(self, x: Tensor) -> InfectionMap:
        return InfectionMap(x[:, :1] * SPEC.std[0] + SPEC.mean[0] - 80 / 255)


class ByPrior(Network):
    """Says ground glass wherever the prior is, and nothing else."""

    def forward(self, x: Tensor) -> ClassMaps:
        prior = x[:, 3:4] * SPEC.std[0] + SPEC.mean[0]
        return ClassMaps(torch.cat([0.5 - prior, prior - 0.5, prior * 0 - 9], dim=1))


def slices_of(
    said: list[ByteArray], truth: list[ByteArray], ignore: ByteArray | None = None
) -> LabelledSlices:
    """Slices on which ``ByGrey`` says the classes of ``said``."""
    images = np.vectorize(GREY.get)(np.stack(said)).astype(np.uint8)
    classes = np.stack(truth)
    masks = np.where((classes > 0) & (classes < 255), 255, 0).astype(np.uint8)
    names = tuple(f"s{i}" for i in range(len(said)))
    ignored = None if ignore is None else np.repeat(ignore[None], len(said), axis=0)
    return LabelledSlices(names, images, masks, masks, ignored, classes=classes)


def plane(*boxes: tuple[int, slice]) -> ByteArray:
    """Rows of one class each."""
    made = np.zeros((SIZE, SIZE), np.uint8)
    for label, rows in boxes:
        made[rows] = label
    return made


def test_classes_are_counted_over_all_slices() -> None:
    said = [plane((1, slice(0, 4))), plane((1, slice(0, 2)), (2, slice(8, 12))), plane()]
    truth = [plane((1, slice(0, 4))), plane((1, slice(0, 4)), (2, slice(10, 12))), plane()]
    scores = validation_scores(ByGrey(), slices_of(said, truth), SPEC, "cpu")
    # rows: ground glass 6 in both, 6 found, 8 true; consolidation 2 in both, 4 found, 2 true
    assert scores["validation_dice_ground_glass"] == pytest.approx(12 / 14)
    assert scores["validation_dice_consolidation"] == pytest.approx(4 / 6)
    assert scores["validation_dice"] == pytest.approx((12 / 14 + 4 / 6) / 2)
    assert scores["validation_dice_infection"] == pytest.approx((1 + 8 / 12 + 1) / 3)


def test_unknown_and_ignored_pixels_have_no_class_but_the_unknown_are_infected() -> None:
    said = [plane((1, slice(0, 4)), (2, slice(8, 20)))]
    truth = [plane((1, slice(0, 4)), (3, slice(8, 16)), (255, slice(16, 20)))]
    ignore = np.where(truth[0] == 255, 255, 0).astype(np.uint8)
    scores = validation_scores(ByGrey(), slices_of(said, truth, ignore), SPEC, "cpu")
    assert scores["validation_dice_ground_glass"] == 1
    assert scores["validation_dice_consolidation"] == 1  # none is known, and none is said where it is known
    assert scores["validation_dice_infection"] == 1


def test_a_class_that_is_said_and_not_there_scores_nothing() -> None:
    scores = validation_scores(ByGrey(), slices_of([plane((2, slice(0, 1)))], [plane()]), SPEC, "cpu")
    assert scores["validation_dice_consolidation"] == 0
    assert scores["validation_dice_ground_glass"] == 1


def test_a_network_without_classes_has_one_score() -> None:
    truth = [plane((1, slice(0, 8))), plane()]
    said = [plane((1, slice(0, 4))), plane()]
    scores = validation_scores(Bright(), slices_of(said, truth), SPEC, "cpu")
    assert scores == {"validation_dice": pytest.approx((8 / 12 + 1) / 2)}


def test_the_prior_is_that_of_the_network_or_the_truth() -> None:
    said, truth = [plane((1, slice(0, 4)))], [plane((1, slice(0, 8)))]
    slices = slices_of(said, truth)
    by_truth = validation_scores(ByPrior(), slices, SPEC, "cpu", prior=Prior(None, SPEC))
    assert by_truth["validation_dice_ground_glass"] == 1
    by_network = validation_scores(ByPrior(), slices, SPEC, "cpu", prior=Prior(Bright(), SPEC))
    assert by_network["validation_dice_ground_glass"] == pytest.approx(8 / 12)


def test_an_empty_prior_is_a_prior() -> None:
    slices = slices_of([plane()], [plane()])
    scores = validation_scores(ByPrior(), slices, SPEC, "cpu", prior=Prior(Bright(), SPEC))
    assert scores["validation_dice"] == 1
