"""Metrics: values worked out by hand, empty and full cases, the published numbers from the published maps."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics import (
    ClinicalProtocol,
    ClinicalReport,
    Confusion,
    EMeasureRule,
    EmptyRule,
    Estimate,
    EvaluatedVolume,
    PaperReport,
    PaperScores,
    confusion,
    evaluate_clinical,
    evaluate_paper,
    paper_report,
    paper_scores,
    paper_thresholds,
    s_measure,
)

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = json.loads((GOLDEN / "published_metrics.json").read_text())
PUBLISHED_SETS = [(s, m) for s, entry in PUBLISHED["sets"].items() for m in entry["models"]]

ROUNDING = 1e-12  # sums of at most 256 doubles in another order: 8e-15 was seen
ALIGNMENT = 1e-11  # E-measure of one image, where the authors sum pixels and we counts: 1.5e-12 was seen
PRINTED = 5.1e-7  # half of the last of six decimals
TABLE = 5.1e-4  # half of the last of three decimals


TRUTH = np.array([[True, True], [False, False]])
SOFT = np.array([[1.0, 0.5], [0.5, 0.0]])


def is_close(found: float, expected: float, tolerance: float = ROUNDING) -> bool:
    return abs(found - expected) <= tolerance


# --- the paper's protocol ---------------------------------------------------------------------------------


def test_thresholds_are_computed_from_both_ends() -> None:
    t = paper_thresholds()
    above = [255 - int(i) for i in np.flatnonzero(t > np.arange(255, -1, -1) / 255)]
    assert above == [251, 235, 219, 218, 203, 202, 187, 186, 171, 170, 155, 154, 139, 138]
    assert np.all(np.diff(t) < 0)
    assert np.allclose(t, np.arange(255, -1, -1) / 255, rtol=0, atol=1e-15)


def test_overlap_curves_by_hand() -> None:
    scores = paper_scores(SOFT, TRUTH)
    # t = 1 finds one of two; from t = 127/255 on two with one false; t = 0 everything
    assert scores.dice[[0, 127, 128, 254, 255]] == pytest.approx([2 / 3, 2 / 3, 4 / 5, 4 / 5, 2 / 3])
    assert scores.sensitivity[[0, 128, 255]] == pytest.approx([1 / 2, 1, 1])
    assert scores.specificity[[0, 128, 255]] == pytest.approx([1, 1 / 2, 0])
    assert scores.precision[[0, 128, 255]] == pytest.approx([1, 2 / 3, 1 / 2])
    assert paper_report([scores]).mean_dice == pytest.approx((128 * 2 / 3 + 127 * 4 / 5 + 2 / 3) / 256)


def test_e_measure_by_hand_on_both_sides_of_a_threshold() -> None:
    at = paper_scores(SOFT, TRUTH, e_measure_rule="at_or_above").e_measure
    above = paper_scores(SOFT, TRUTH).e_measure
    # found one of two: phi is 12/13 once, -4/5 once and 4/5 twice
    found_one = ((25 / 13) ** 2 / 4 + 0.2**2 / 4 + 2 * 1.8**2 / 4) / 3
    assert at[0] == pytest.approx(found_one)
    assert above[0] == pytest.approx(4 * 0.25 / 3)  # nothing lies above 1, phi is 0
    assert above[1] == pytest.approx(found_one)


def test_mae_and_s_measure_are_taken_on_the_stretched_map() -> None:
    stretched, faint = paper_scores(SOFT, TRUTH), paper_scores(SOFT * 0.25 + 0.25, TRUTH)
    assert stretched.mae == pytest.approx(0.25)
    assert faint.mae == pytest.approx(0.25)
    assert faint.s_measure == pytest.approx(s_measure(SOFT, TRUTH))


def test_constant_map_is_not_stretched() -> None:
    scores = paper_scores(np.full((2, 2), 0.3), TRUTH)
    assert scores.mae == pytest.approx(0.5)
    cut = int(np.argmax(paper_thresholds() <= 0.3))
    assert scores.dice[cut - 1] == pytest.approx(0)
    assert scores.dice[cut] == pytest.approx(2 / 3)


def test_without_overlap_all_four_are_zero_specificity_too() -> None:
    empty_truth = paper_scores(SOFT, np.zeros((2, 2), bool))
    missed = paper_scores(1 - TRUTH.astype(float), TRUTH)
    for curve in ("dice", "sensitivity", "specificity", "precision"):
        assert not getattr(empty_truth, curve).any()
        assert not getattr(missed, curve)[:255].any()
    assert empty_truth.s_measure == pytest.approx(1 - SOFT.mean())
    assert empty_truth.e_measure[[0, 255]] == pytest.approx([4 / 3, 1 / 3])  # 1 - F summed, over n - 1
    assert empty_truth.adaptive.specificity == pytest.approx(0)


def test_adaptive_threshold_is_twice_the_mean() -> None:
    adaptive = paper_scores(np.array([[1.0, 0.5], [0.0, 0.1]]), TRUTH).adaptive  # threshold 0.8
    assert adaptive.to_dict() == pytest.approx(
        {
            "dice": 2 / 3,
            "iou": 1 / 2,
            "sensitivity": 1 / 2,
            "specificity": 1,
            "precision": 1,
            "e_measure": ((25 / 13) ** 2 / 4 + 0.2**2 / 4 + 2 * 1.8**2 / 4) / 3,
        }
    )


def naive_scores(stretched: npt.NDArray[np.float64], truth: BoolArray) -> dict[str, list[float]]:
    """The definitions of the tool, one threshold and one image at a time."""
    eps = np.finfo(np.float64).eps
    curves: dict[str, list[float]] = {"dice": [], "specificity": [], "e_measure": []}
    for t in paper_thresholds():
        mask = stretched >= t
        hit = np.sum(mask & truth)
        curves["dice"].append(2 * hit / (mask.sum() + truth.sum()) if hit else 0.0)
        curves["specificity"].append(np.sum(~mask & ~truth) / np.sum(~truth) if hit else 0.0)
        above = (stretched > t).astype(np.float64)
        a, b = above - above.mean(), truth - truth.mean()
        phi = 2 * a * b / (a * a + b * b + eps)
        curves["e_measure"].append(float(np.sum((phi + 1) ** 2 / 4) / (truth.size - 1 + eps)))
    return curves


@pytest.mark.parametrize("seed", range(4))
def test_counting_agrees_with_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (23, 31), dtype=np.uint8)
    codes[0, 0], codes[0, 1] = 0, 255
    truth = rng.random((23, 31)) < 0.3
    expected = naive_scores(codes / 255, truth)
    for prediction in (codes, codes / 255):  # 8 bits and floats take different paths
        scores = paper_scores(prediction, truth)
        for name, curve in expected.items():
            assert np.abs(getattr(scores, name) - curve).max() <= ROUNDING


def test_a_mask_is_a_map_of_two_levels() -> None:
    assert paper_report([paper_scores(TRUTH, TRUTH)]).to_dict()["max_dice"] == pytest.approx(1)


def test_every_small_case_gives_finite_numbers() -> None:
    maps = [SOFT, np.zeros((2, 2)), np.ones((2, 2)), np.array([[0, 5e-324], [0, 0]]), SOFT.astype(np.float32)]
    for bits in range(15):  # all truths but the full one
        truth = np.array([[bits & 1, bits & 2], [bits & 4, bits & 8]], bool)
        for prediction in maps:
            scores = paper_scores(prediction, truth)
            numbers = [scores.s_measure, scores.mae, *scores.adaptive.to_dict().values()]
            for name in ("dice", "sensitivity", "specificity", "precision", "e_measure"):
                numbers.extend(getattr(scores, name))
            assert np.isfinite(numbers).all(), (bits, prediction)


# --- S-measure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (TRUTH.astype(float), 1.0),
        (np.zeros((2, 2)), 0.75),  # object term 1/2; both blocks are even, which the measure calls alike
        (np.full((2, 2), 0.5), 0.9),  # object term 4/5
    ],
)
def test_s_measure_with_the_centroid_on_the_border(values: npt.NDArray[np.float64], expected: float) -> None:
    # the centroid is in row 1 and column 1.5, rounded up to 2 of 2: the right blocks have no pixels
    assert s_measure(values, TRUTH) == pytest.approx(expected)


def test_s_measure_by_hand() -> None:
    values = np.array([[0.8, 0.2], [0.4, 0.6]])
    objects = 1.4 / (0.7**2 + 1 + math.sqrt(0.02))
    assert s_measure(values, np.eye(2, dtype=bool)) == pytest.approx((objects + 2 / 3) / 2)


@pytest.mark.parametrize("corner", [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)])
def test_s_measure_of_a_single_pixel_is_finite_everywhere(corner: tuple[int, int]) -> None:
    truth = np.zeros((5, 5), bool)
    truth[corner] = True
    assert s_measure(truth, truth) == pytest.approx(1)
    assert 0 <= s_measure(np.linspace(0, 1, 25).reshape(5, 5), truth) < 1


def test_s_measure_of_empty_and_full_truth() -> None:
    assert s_measure(SOFT, np.zeros((2, 2), bool)) == pytest.approx(0.5)
    assert s_measure(SOFT * 0.5, np.ones((2, 2), bool)) == pytest.approx(0.25)


# --- what is refused --------------------------------------------------------------------------------------

NAN_MAP = np.array([[np.nan, 0.5], [0.5, 0.0]])


@pytest.mark.parametrize(
    ("prediction", "truth", "code", "message"),
    [
        (NAN_MAP, TRUTH, 3084, "1 of 4 values of the prediction are NaN or infinite"),
        (np.full((2, 2), np.inf), TRUTH, 3084, "4 of 4 values"),
        (SOFT * 3, TRUTH, 3085, "reaches from 0 to 3, expected [0, 1]; apply the sigmoid"),
        (SOFT[:1], TRUTH, 3081, "the prediction has shape (1, 2), the truth (2, 2)"),
        (SOFT, TRUTH.astype(np.uint8), 3080, "the truth is uint8, expected bool"),
        (np.ones((2, 2), np.int64), TRUTH, 3083, "the prediction is int64, expected bool, uint8 or floating"),
        (SOFT[:1, :1], TRUTH[:1, :1], 3082, "fewer than 2 pixels"),
    ],
)
def test_bad_pairs_are_refused_everywhere(
    prediction: npt.NDArray[np.float64], truth: BoolArray, code: int, message: str
) -> None:
    protocol = ClinicalProtocol(empty="skip")
    for score in (
        paper_scores,
        s_measure,
        confusion,
        lambda p, t: evaluate_clinical([EvaluatedVolume("case 1", p, t)], protocol),
    ):
        with pytest.raises(InputError) as caught:
            score(prediction, truth)
        assert caught.value.code == code
        assert message in str(caught.value)


def test_refusals_of_the_paper_protocol() -> None:
    with pytest.raises(InputError, match=r"3088.*the truth fills the whole image"):
        paper_scores(SOFT, np.ones((2, 2), bool))
    with pytest.raises(InputError, match=r"3087.*one image at a time, found shape \(1, 2, 2\)"):
        paper_scores(SOFT[None], TRUTH[None])
    with pytest.raises(InputError, match=r"3087.*S-measure.*one image at a time, found shape \(1, 2, 2\)"):
        s_measure(SOFT[None], TRUTH[None])
    with pytest.raises(InputError, match=r"3097.*rule 'below' is not known, expected one of above"):
        paper_scores(SOFT, TRUTH, e_measure_rule=cast(EMeasureRule, "below"))
    with pytest.raises(InputError, match=r"3089.*no image to evaluate"):
        evaluate_paper([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"empty": "half"}, "3090.*empty rule 'half' is not known, expected one of one, zero, skip"),
        ({"threshold": 0.0}, r"3091.*threshold 0 is outside \(0, 1\]"),
        ({"threshold": math.nan}, "3091.*threshold nan"),
        ({"resamples": 10}, "3092.*10 resamples are too few"),
        ({"confidence": 1.0}, "3093.*confidence 1 is outside"),
    ],
)
def test_refusals_of_the_clinical_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClinicalProtocol(**{"empty": "skip", **settings})


def test_refusals_of_a_set_of_volumes() -> None:
    volume = EvaluatedVolume("case 1", SOFT, TRUTH)
    with pytest.raises(InputError, match=r"3096.*'case 1' is given twice"):
        evaluate_clinical([volume, volume], ClinicalProtocol(empty="skip"))
    with pytest.raises(InputError, match=r"3095.*no volume to evaluate"):
        evaluate_clinical([], ClinicalProtocol(empty="skip"))
    with pytest.raises(InputError, match=r"3094.*case 2: shape \(1, 1, 2, 2\)"):
        EvaluatedVolume("case 2", SOFT[None, None], TRUTH[None, None])
    with pytest.raises(InputError, match=r"3086.*cannot be negative"):
        Confusion(1, 0, -1, 0)


# --- the clinical protocol --------------------------------------------------------------------------------


def test_confusion_by_hand() -> None:
    counts = confusion(SOFT, TRUTH)  # 0.5 itself is positive
    assert counts == Confusion(2, 1, 0, 1)
    assert counts.to_dict() == {
        "true_positive": 2,
        "false_positive": 1,
        "false_negative": 0,
        "true_negative": 1,
    }
    assert [counts.dice, counts.iou, counts.sensitivity, counts.precision, counts.specificity] == (
        pytest.approx([4 / 5, 2 / 3, 1, 2 / 3, 1 / 2])
    )
    assert confusion(SOFT, TRUTH, threshold=0.51) == Confusion(1, 0, 1, 2)


def test_eight_bits_are_cut_between_127_and_128() -> None:
    assert confusion(np.array([127, 128], np.uint8), np.array([True, True])) == Confusion(1, 0, 1, 0)


def three_volumes() -> Iterator[EvaluatedVolume]:
    """One with an infected slice and a healthy one, one healthy throughout, one with a false alarm."""
    healthy, empty = np.zeros((2, 2)), np.zeros((2, 2), bool)
    yield EvaluatedVolume("infected", np.stack([SOFT, healthy]), np.stack([TRUTH, empty]))
    yield EvaluatedVolume("healthy", healthy, empty)
    yield EvaluatedVolume("false alarm", np.array([[0.9, 0.1], [0.1, 0.1]]), empty)


def estimates(report: ClinicalReport, measure: str) -> list[Estimate]:
    return [getattr(level, measure) for level in (report.per_slice, report.per_volume, report.pooled)]


def values(report: ClinicalReport, measure: str) -> list[float | None]:
    return [estimate.value for estimate in estimates(report, measure)]


def counts(report: ClinicalReport, measure: str) -> list[int]:
    return [estimate.count for estimate in estimates(report, measure)]


@pytest.mark.parametrize(
    ("empty", "slices", "volumes"),
    [
        # slices 0.8, empty, empty, 0; volumes 0.8, empty, 0
        ("one", ((0.8 + 1 + 1 + 0) / 4, 4), ((0.8 + 1 + 0) / 3, 3)),
        ("zero", (0.8 / 4, 4), (0.8 / 3, 3)),
        ("skip", (0.8 / 2, 2), (0.8 / 2, 2)),
    ],
)
def test_the_empty_rule_by_hand(
    empty: EmptyRule, slices: tuple[float, int], volumes: tuple[float, int]
) -> None:
    report = evaluate_clinical(three_volumes(), ClinicalProtocol(empty=empty))
    # pooled: 2 found, 2 false, whatever the rule
    assert values(report, "dice") == pytest.approx([slices[0], volumes[0], 4 / 6])
    assert counts(report, "dice") == [slices[1], volumes[1], 3]


def test_what_is_undefined_is_left_out() -> None:
    report = evaluate_clinical(three_volumes(), ClinicalProtocol(empty="skip"))
    # the false alarm has no sensitivity
    assert values(report, "sensitivity") == pytest.approx([1, 1, 1])
    assert counts(report, "sensitivity") == [1, 1, 3]
    assert values(report, "precision") == pytest.approx([1 / 3, 1 / 3, 2 / 4])
    assert counts(report, "precision") == [2, 2, 3]
    # slices 1/2, 1, 1, 3/4; volumes 5 of 6, 4 of 4, 3 of 4
    assert values(report, "specificity") == pytest.approx([3.25 / 4, (5 / 6 + 1 + 3 / 4) / 3, 12 / 14])
    assert counts(report, "specificity") == [4, 3, 3]
    # slices 1, 0, 0 and 1.2 over 4 pixels each
    assert values(report, "mae") == pytest.approx([0.55 / 4, (1 / 8 + 0.3) / 3, 2.2 / 16])
    assert counts(report, "mae") == [4, 3, 3]


def test_a_truth_that_fills_the_image_has_no_specificity() -> None:
    full = EvaluatedVolume("full", np.ones((2, 2)), np.ones((2, 2), bool))
    report = evaluate_clinical([full], ClinicalProtocol(empty="skip"))
    assert values(report, "specificity") == [None] * 3
    assert counts(report, "specificity") == [0] * 3
    assert values(report, "dice") == pytest.approx([1] * 3)


@pytest.mark.parametrize(("empty", "expected"), [("one", (1.0, 2)), ("zero", (0.0, 2)), ("skip", (None, 0))])
def test_a_set_without_any_infection_is_a_number_or_absent(
    empty: EmptyRule, expected: tuple[float | None, int]
) -> None:
    healthy = [EvaluatedVolume(n, np.zeros((2, 2)), np.zeros((2, 2), bool)) for n in ("a", "b")]
    report = evaluate_clinical(healthy, ClinicalProtocol(empty=empty))
    assert values(report, "dice") == [expected[0]] * 3
    assert counts(report, "dice") == [expected[1]] * 3
    assert values(report, "specificity") == pytest.approx([1] * 3)
    assert "NaN" not in json.dumps(report.to_dict())


def noisy_volumes(count: int, slices: int = 1) -> list[EvaluatedVolume]:
    rng = np.random.default_rng(7)
    volumes = []
    for i in range(count):
        truth = np.broadcast_to(rng.random((12, 12)) < 0.3, (slices, 12, 12)).copy()
        noise = np.broadcast_to(rng.random((12, 12)) * rng.uniform(0.5, 1), (slices, 12, 12))
        volumes.append(EvaluatedVolume(f"case {i}", np.clip(0.6 * truth + 0.6 * noise, 0, 1), truth))
    return volumes


def test_the_interval_is_seeded_and_agrees_with_the_formula_for_a_mean() -> None:
    volumes = noisy_volumes(40)
    report = evaluate_clinical(volumes, ClinicalProtocol(empty="skip"))
    dice = [v.dice for v in report.volumes if v.dice is not None]
    estimate = report.per_volume.dice
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.standard_error is not None
    assert estimate.standard_error == pytest.approx(np.std(dice, ddof=1) / math.sqrt(40), rel=0.1)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * estimate.standard_error, rel=0.1)
    assert estimate.low < np.mean(dice) < estimate.high
    assert evaluate_clinical(volumes, ClinicalProtocol(empty="skip")).to_dict() == report.to_dict()
    other = evaluate_clinical(volumes, ClinicalProtocol(empty="skip", seed=1))
    assert other.per_volume.dice.low != estimate.low
    assert other.per_volume.dice.value == estimate.value
    narrow = evaluate_clinical(volumes, ClinicalProtocol(empty="skip", confidence=0.5)).per_volume.dice
    assert narrow.low is not None
    assert narrow.low > estimate.low


def test_more_slices_of_the_same_patients_do_not_narrow_the_interval() -> None:
    once = evaluate_clinical(noisy_volumes(12), ClinicalProtocol(empty="skip")).per_slice.dice
    often = evaluate_clinical(noisy_volumes(12, slices=9), ClinicalProtocol(empty="skip")).per_slice.dice
    assert often.count == 9 * once.count
    assert often.standard_error == pytest.approx(once.standard_error)


def test_one_volume_has_no_interval() -> None:
    report = evaluate_clinical(noisy_volumes(1, slices=5), ClinicalProtocol(empty="skip"))
    for level in (report.per_slice, report.per_volume, report.pooled):
        assert level.dice.value is not None
        assert (level.dice.low, level.dice.high, level.dice.standard_error) == (None, None, None)


def test_reports_are_plain_values_and_name_their_protocol() -> None:
    clinical = json.loads(
        json.dumps(evaluate_clinical(three_volumes(), ClinicalProtocol(empty="zero")).to_dict())
    )
    assert clinical["protocol"]["name"] == "clinical"
    assert clinical["protocol"]["empty"] == "zero"
    assert [v["name"] for v in clinical["volumes"]] == ["infected", "healthy", "false alarm"]
    paper = json.loads(json.dumps(evaluate_paper([(SOFT, TRUTH)]).to_dict()))
    assert paper["protocol"] == "paper"
    assert paper["images"] == 1
    assert json.loads(json.dumps(paper_scores(SOFT, TRUTH).to_dict()))["mae"] == pytest.approx(0.25)


# --- published numbers ------------------------------------------------------------------------------------


def read_grey(path: Path) -> ByteArray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, f"{path} is missing or not an image"
    return image.astype(np.uint8, copy=False)


def published_pairs(data_root: Path, task: str, model: str) -> list[tuple[str, ByteArray, BoolArray]]:
    entry = PUBLISHED["sets"][task]
    maps = data_root / "covid-semiseg-results" / "Results" / entry["maps"] / model
    truths = data_root / "covid-semiseg" / "TestingSet" / entry["truth"]
    if not (maps.is_dir() and truths.is_dir()):
        pytest.skip(f"the published maps are not at {maps}")
    names = sorted(
        path.name for path in truths.glob("*.png")
    )  # plain order of the characters, as in the files
    assert len(names) == 48
    return [(name, read_grey(maps / name), read_grey(truths / name) > 128) for name in names]


def score_published(data_root: Path, task: str, model: str) -> tuple[list[PaperScores], PaperReport]:
    scores = [paper_scores(map_, truth) for _, map_, truth in published_pairs(data_root, task, model)]
    return scores, paper_report(scores)


@pytest.mark.data
@pytest.mark.parametrize(("task", "model"), PUBLISHED_SETS)
def test_published_scores_are_reproduced(data_root: Path, task: str, model: str) -> None:
    expected = PUBLISHED["sets"][task]["models"][model]
    scores, report = score_published(data_root, task, model)
    for name, value in expected["scores"].items():
        tolerance = ALIGNMENT if "e_measure" in name else ROUNDING
        assert is_close(getattr(report, name), value, tolerance), name
    for name, value in expected.get("adaptive", {}).items():
        assert is_close(getattr(report.adaptive, name), value, ALIGNMENT), name
    for name, curve in expected.get("curves", {}).items():
        distance = float(np.abs(report.curves[name] - curve).max())
        assert distance <= (ALIGNMENT if name == "e_measure" else 0.0), name
    if "adaptive_dice_per_image" in expected:
        for image, value in zip(scores, expected["adaptive_dice_per_image"], strict=True):
            assert is_close(image.adaptive.dice, value, 0.0)


@pytest.mark.data
def test_plain_thresholds_would_not_reproduce_them(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.arange(255, -1, -1) / 255
    monkeypatch.setattr("infnet_runtime.metrics.paper.paper_thresholds", lambda: plain)
    _, report = score_published(data_root, "infection", "Inf-Net")
    assert is_close(report.mean_dice, 0.682044, PRINTED)  # 0.681812 published
    assert is_close(report.mean_e_measure, 0.838293, 5e-5)


@pytest.mark.data
def test_consolidation_of_table_3_is_over_the_images_that_have_it(data_root: Path) -> None:
    for model, expected in PUBLISHED["table_iii_consolidation_38_images"].items():
        pairs = [
            (map_, truth)
            for _, map_, truth in published_pairs(data_root, "consolidation", model)
            if truth.any()
        ]
        report = evaluate_paper(pairs)
        assert report.images == 38
        for name, value in expected.items():
            # the paper prints 0.458 where its own files give 0.4573
            assert is_close(getattr(report, name), value, 1e-3 if name == "mean_dice" else TABLE), name


@pytest.mark.data
@pytest.mark.parametrize("model", ["Inf-Net", "Semi-Inf-Net"])
def test_scores_of_single_images_are_reproduced(data_root: Path, model: str) -> None:
    with (GOLDEN / "published_per_image_metrics.csv").open(newline="") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines) if row["model"] == model}
    pairs = published_pairs(data_root, "infection", model)
    assert sorted(rows) == [name for name, _, _ in pairs]
    for name, map_, truth in pairs:
        row = rows[name]
        assert (str(truth.shape[1]), str(truth.shape[0])) == (row["width"], row["height"])
        assert np.count_nonzero(truth) == int(row["gt_pixels"])
        paper, counts = paper_scores(map_, truth).to_dict(), confusion(map_, truth)
        for column, found in {
            "meanDice_256thr": paper["mean_dice"],
            "meanSen_256thr": paper["mean_sensitivity"],
            "meanSpe_256thr": paper["mean_specificity"],
            "meanEm_256thr_strict": paper["mean_e_measure"],
            "Smeasure": paper["s_measure"],
            "MAE": paper["mae"],
            "dice_ge128": counts.dice,
            "iou_ge128": counts.iou,
        }.items():
            assert found is not None
            assert is_close(found, float(row[column]), PRINTED), (name, column)


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "per_volume", "pooled", "standard_error"),
    [
        # Dice, IoU, sensitivity, specificity, precision; pooled Dice and IoU
        ("Inf-Net", (0.7377, 0.5991, 0.7185, 0.9627, 0.7823), (0.8010, 0.6681), 0.018),
        ("Semi-Inf-Net", (0.7702, 0.6377, 0.7453, 0.9691, 0.8090), (0.8222, 0.6980), 0.015),
    ],
)
def test_the_same_maps_under_the_clinical_protocol(
    data_root: Path,
    model: str,
    per_volume: tuple[float, ...],
    pooled: tuple[float, float],
    standard_error: float,
) -> None:
    report = evaluate_clinical(
        (EvaluatedVolume(*case) for case in published_pairs(data_root, "infection", model)),
        ClinicalProtocol(empty="skip"),
    )
    means = report.per_volume
    found = (means.dice, means.iou, means.sensitivity, means.specificity, means.precision)
    assert [e.value for e in found] == pytest.approx(per_volume, abs=5.1e-5)
    assert [report.pooled.dice.value, report.pooled.iou.value] == pytest.approx(pooled, abs=5.1e-5)
    assert means.dice.standard_error == pytest.approx(standard_error, abs=1e-3)
    assert report.per_slice == report.per_volume  # each image is a volume of one slice


@pytest.mark.data
def test_values_another_project_records_for_its_own_images(data_root: Path) -> None:
    """PySODMetrics 1.4.0, where the conventions agree.

    They do not for specificity and IoU with an empty truth, and at grey levels exactly on a threshold.
    """
    folder = data_root / "sod-metric-fixtures"
    if not folder.is_dir():
        pytest.skip(f"the images are not at {folder}")
    recorded = json.loads((folder / "version_performance.json").read_text())["v1_4_0"]
    names = sorted(path.name for path in (folder / "masks").glob("*.png"))
    assert len(names) == 3
    report = evaluate_paper(
        [(read_grey(folder / "preds" / n), read_grey(folder / "masks" / n) > 128) for n in names],
        e_measure_rule="at_or_above",
    )
    for key, found, tolerance in (
        ("Smeasure", report.s_measure, ROUNDING),
        ("MAE", report.mae, ROUNDING),
        ("adpEm", report.adaptive.e_measure, ALIGNMENT),
        ("maxEm", report.max_e_measure, ALIGNMENT),
        ("maxdice", report.max_dice, ROUNDING),
        ("adpdice", report.adaptive.dice, ROUNDING),
        ("adppre", report.adaptive.precision, ROUNDING),
        ("adprec", report.adaptive.sensitivity, ROUNDING),
        ("meanEm", report.mean_e_measure, 5e-5),  # thresholds k / 255 there: 1e-5 was seen
        ("meandice", report.mean_dice, 5e-5),
    ):
        assert is_close(found, recorded[key], tolerance), key
