"""The gate on masks and volumes: passes, fails, and says why."""

import json
from pathlib import Path

import numpy as np
import pytest

from infnet_export.proof.gate import (
    GateReport,
    LabelledVolume,
    SetShift,
    _Case,
    _shift,
    check_gate,
    compare_models,
)
from infnet_runtime.backends import open_session
from infnet_runtime.errors import GateError
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.metrics.mask_limits import Limits, MaskPair
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import MANIFEST, mid_grey_detector


def labelled(name: str, *, infected: bool = True) -> LabelledSlice:
    """A field with a disc of every grey, and as its truth the greys the detector looks for."""
    rows, columns = np.mgrid[:192, :192]
    grey = np.clip(255 - np.hypot(rows - 96, columns - 96) * 2.4, 0, 255)
    truth = np.abs(grey / 255 - 0.45) < 0.15
    return name, (grey if infected else grey * 0).astype(np.uint8), truth & infected


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {
        "reference": mid_grey_detector(tmp_path / "reference.onnx"),
        "near": mid_grey_detector(tmp_path / "near.onnx", gain=199.0),
        "far": mid_grey_detector(tmp_path / "far.onnx", scale=0.65, gain=10.0),
        "blind": mid_grey_detector(tmp_path / "blind.onnx", scale=0.4),
    }


def compare(models: dict[str, Path], candidate: str, **sets: list[LabelledSlice]) -> GateReport:
    with (
        open_session(models["reference"], device="cpu", threads=1) as one,
        open_session(models[candidate], device="cpu", threads=1) as other,
    ):
        return compare_models(one, other, sets)


def test_a_near_candidate_passes(models: dict[str, Path]) -> None:
    report = compare(models, "near", test=[labelled("a"), labelled("b", infected=False)])
    assert report.passed
    check_gate(report)
    found = report.sets["test"]
    assert (found.cases, found.unit) == (2, "pixels")
    assert found.dice_reference > 0.95
    assert found.dice_shift <= 0.003
    assert found.volume_shift <= 0.01
    assert report.reference_sha256 != report.candidate_sha256


def test_the_same_model_does_not_move_at_all(models: dict[str, Path]) -> None:
    found = compare(models, "reference", test=[labelled("a")]).sets["test"]
    assert (found.dice_shift, found.volume_shift) == (0, 0)
    assert found.size_reference == found.size_candidate > 0


def test_a_far_candidate_fails_and_the_costs_are_named(models: dict[str, Path]) -> None:
    report = compare(models, "far", test=[labelled("a")], healthy=[labelled("b", infected=False)])
    assert not report.passed
    assert report.sets["healthy"].passed
    with pytest.raises(GateError) as caught:
        check_gate(report, [("rfb2", 1e-4), ("logits", 4e-3)])
    assert (caught.value.code, caught.value.exit_code) == (7034, 7)
    text = str(caught.value)
    assert text.startswith(
        "[INF-7034] the candidate is too far from the reference on 1 of 2 sets (test: Dice moves by 0."
    )
    assert "(at most 0.003), the infection moves from" in text
    assert "pixels a slice, and Dice by at most 0.003; the costliest parts are logits (4.0e-03), rfb2" in text


def test_opposite_shifts_of_two_sets_do_not_cancel() -> None:
    def shift(*faults: str) -> SetShift:
        return SetShift(1, 0.5, 0.5, 0.0, 100.0, 100.0, 0.0, "ml", 1.0, "a: 0.0 ml", faults)

    report = GateReport("a", "b", Limits(), {"up": shift(), "down": shift("too far")})
    assert not report.passed


def test_opposite_shifts_of_two_slices_do_not_cancel(models: dict[str, Path]) -> None:
    """What the far candidate loses against the truth it wins where the truth is what it leaves."""
    name, grey, truth = labelled("a")
    report = compare(models, "far", test=[(name, grey, truth), ("none", grey, ~truth)])
    found = report.sets["test"]
    assert found.dice_shift >= abs(found.dice_candidate - found.dice_reference)


def test_a_candidate_that_finds_nothing_or_something_from_nothing(models: dict[str, Path]) -> None:
    found = compare(models, "blind", test=[labelled("a")]).sets["test"]
    assert (found.volume_shift, found.passed) == (1.0, False)
    swapped = {**models, "reference": models["blind"], "blind": models["reference"]}
    report = compare(swapped, "blind", test=[labelled("a")])
    assert report.sets["test"].volume_shift == np.inf
    assert not report.passed
    plain = json.loads(json.dumps(report.to_plain(), allow_nan=False))
    assert plain["sets"]["test"]["volume_shift"] is None
    assert plain["passed"] is False


def scan(shape: tuple[int, int, int] = (12, 96, 96), *, infected: bool = True) -> LabelledVolume:
    phantom = chest_phantom(shape, (10.0, 4.0, 4.0), noise_hu=0, infected=infected)
    return "phantom", CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom"), phantom.infection


def compare_scans(models: dict[str, Path], candidate: str, *scans: LabelledVolume) -> SetShift:
    with (
        open_session(models["reference"], device="cpu", threads=1) as one,
        open_session(models[candidate], device="cpu", threads=1) as other,
    ):
        return compare_models(one, other, {}, {"scans": scans}).sets["scans"]


def test_volumes_take_the_path_of_the_segmenter(models: dict[str, Path]) -> None:
    found = compare_scans(models, "far", scan())
    assert found.unit == "ml"
    assert 0 < found.size_candidate < found.size_reference
    assert not found.passed
    assert found.faults[-1].startswith("the masks of phantom agree by a Dice of 0.")


def test_a_scan_needs_no_labels(models: dict[str, Path]) -> None:
    name, volume, _ = scan()
    near, far = (compare_scans(models, which, (name, volume, None)) for which in ("near", "far"))
    assert (near.dice_reference, near.dice_candidate, near.dice_shift) == (None, None, 0.0)
    assert near.passed
    assert near.agreement > 0.98
    assert not far.passed
    assert "not labelled | -" in GateReport("a", "b", Limits(), {"scans": near}).to_table()


def test_scans_do_not_hide_each_other(models: dict[str, Path]) -> None:
    """A scan in which nothing moves does not make up for one in which much does."""
    name, volume, _ = scan(infected=False)
    found = compare_scans(models, "far", scan(), (name, volume, None))
    assert not found.passed
    assert found.worst.startswith("phantom: ")


def case(before: int, after: int, differing: int, unit: str = "ml", name: str = "a") -> SetShift:
    """Two masks of so many units, neither of them labelled."""
    return _shift("set", [_Case(MaskPair(name, (before, after), differing, unit), None)], Limits())


@pytest.mark.parametrize(
    ("before", "after", "differing", "passed"),
    [
        (0, 0, 0, True),  # a healthy chest
        (0, 1, 1, True),  # and a mark of one millilitre in it
        (0, 2, 2, False),
        (3, 2, 1, True),  # a third of a small mask, and yet one millilitre
        (3, 1, 2, False),
        (20, 21, 1, True),  # 5 %, one millilitre
        (100, 102, 2, False),  # 2 %
        (500, 505, 15, True),  # 1 %, Dice 0.985
        (500, 500, 30, False),  # nothing in the sum, Dice 0.970
        (500, 506, 6, False),  # 1.2 %
    ],
)
def test_small_masks_are_judged_by_millilitres(before: int, after: int, differing: int, passed: bool) -> None:
    assert case(before, after, differing).passed is passed


@pytest.mark.parametrize(
    ("before", "after", "passed"), [(20, 30, True), (20, 31, False), (2000, 2020, True), (2000, 2021, False)]
)
def test_small_masks_of_slices_are_judged_by_pixels(before: int, after: int, passed: bool) -> None:
    assert case(before, after, after - before, "pixels").passed is passed


def test_a_fault_names_case_value_and_limit() -> None:
    (volume, masks) = case(100, 110, 10, name="scan 7").faults
    assert volume == "scan 7 moves from 100.0 to 110.0 ml, by 10.00% (at most 1% or 1 ml)"
    assert masks == (
        "the masks of scan 7 agree by a Dice of 0.9524 and differ in 10.0 ml (at least 0.98, or at most 1 ml)"
    )


def test_nothing_to_compare_on_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(GateError, match=r"INF-7033\] no labelled set"):
        compare(models, "near")
    with pytest.raises(GateError, match=r"INF-7033\] set 'test' has no labelled case"):
        compare(models, "near", test=[])


def test_the_table_shows_every_set(models: dict[str, Path]) -> None:
    lines = compare(models, "near", one=[labelled("a")], two=[labelled("b")]).to_table().splitlines()
    assert len(lines) == 6
    assert lines[5].startswith(
        "Allowed in pixels: the infection by at most 1% or 10 pixels a slice, and Dice"
    )
    assert lines[2].startswith("| one | 1 | ")
    assert lines[3].endswith("passed |")
    assert MANIFEST.output.threshold == pytest.approx(0.5)
