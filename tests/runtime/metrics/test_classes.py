"""Scores of classes: by hand, what does not count, and the published Table III from the published maps."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics import evaluate_paper, score_classes

TABLE = 5.1e-4  # half of the last of three decimals
GLASS, DENSE = 1, 2


def row(*values: int) -> ByteArray:
    return np.array([values], np.uint8)


def test_each_class_is_a_mask_of_its_own() -> None:
    found = row(GLASS, GLASS, DENSE, 0, 0, 0)
    truth = row(GLASS, DENSE, DENSE, DENSE, 0, 0)
    scores = score_classes([("a", found, truth)])
    assert list(scores) == ["ground_glass", "consolidation"]
    assert scores["ground_glass"].clinical.pooled.dice.value == pytest.approx(2 / 3)
    assert scores["consolidation"].clinical.pooled.dice.value == pytest.approx(2 / 4)
    assert scores["consolidation"].clinical.pooled.sensitivity.value == pytest.approx(1 / 3)


def test_the_paper_counts_the_images_that_have_the_class_and_the_clinic_all() -> None:
    with_both, without = row(GLASS, DENSE, 0, 0), row(GLASS, 0, 0, 0)
    scores = score_classes([("a", with_both, with_both), ("b", without, without), ("c", with_both, without)])
    dense = scores["consolidation"]
    assert dense.paper is not None
    assert dense.paper.images == 1
    expected = evaluate_paper([(np.where(with_both == DENSE, 255, 0).astype(np.uint8), with_both == DENSE)])
    assert dense.paper.mean_dice == expected.mean_dice
    assert dense.clinical.per_slice.dice.value == pytest.approx((1 + 1 + 0) / 3)
    assert dense.clinical.pooled.dice.value == pytest.approx(2 / 3)
    assert scores["ground_glass"].paper is not None
    assert scores["ground_glass"].paper.images == 3


def test_a_class_that_no_image_has_has_no_score_of_the_paper() -> None:
    scores = score_classes([("a", row(GLASS, 0), row(GLASS, 0))])
    assert scores["consolidation"].paper is None
    assert scores["consolidation"].clinical.per_slice.dice.value == 1


@pytest.mark.parametrize("label", [3, 255])
def test_pixels_of_unknown_class_and_ignored_ones_are_neither_found_nor_true(label: int) -> None:
    truth = row(GLASS, DENSE, label, label, 0)
    one, other = (
        score_classes([("a", row(GLASS, DENSE, *said, 0), truth)]) for said in ((GLASS, DENSE), (0, 0))
    )
    for name in one:
        assert one[name].clinical == other[name].clinical
    assert one["ground_glass"].clinical.pooled.dice.value == 1


def test_no_slice_is_refused() -> None:
    with pytest.raises(InputError, match="no volume to evaluate"):
        score_classes([])


@pytest.mark.data
def test_the_published_table_3_is_that_of_the_images_with_the_class(data_root: Path) -> None:
    """Semi-Inf-Net & MC, from the maps that the authors published."""
    results = data_root / "covid-semiseg-results/Results/Multi-class lung infection segmentation"
    truths = data_root / "covid-semiseg/TestingSet/MultiClassInfection-Test"
    if not (results.is_dir() and truths.is_dir()):
        pytest.skip(f"the published maps are not at {results}")
    folders = {GLASS: ("Ground-glass opacities", "GT-1"), DENSE: ("Consolidation", "GT-2")}
    slices = []
    for path in sorted((truths / "GT-1").glob("*.png")):
        found, truth = np.zeros((2, *cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape), np.uint8)
        for value, (maps, masks) in folders.items():
            where = results / maps / "Semi-Inf-Net_UNet" / path.name
            found[cv2.imread(str(where), cv2.IMREAD_GRAYSCALE) > 128] = value
            truth[cv2.imread(str(truths / masks / path.name), cv2.IMREAD_GRAYSCALE) > 128] = value
        slices.append((path.stem, found, truth))
    scores = score_classes(slices)
    published = {
        "ground_glass": (48, 0.624, 0.618, 0.966, 0.706, 0.889, 0.067),
        "consolidation": (38, 0.4573, 0.509, 0.967, 0.603, 0.767, 0.047),  # the paper rounds .4573 to .458
    }
    for name, (images, *columns) in published.items():
        paper = scores[name].paper
        assert paper is not None
        assert paper.images == images
        measured = (paper.mean_dice, paper.mean_sensitivity, paper.mean_specificity)
        measured += (paper.s_measure, paper.mean_e_measure, paper.mae)
        assert measured == pytest.approx(columns, abs=TABLE)
