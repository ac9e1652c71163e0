"""The gate on masks and volumes: passes, fails, and says why."""

import json
from pathlib import Path

import numpy as np
import pytest

from infnet_export.proof.gate import GateReport, Limits, SetShift, check_gate, compare_models
from infnet_runtime.backends import open_session
from infnet_runtime.errors import GateError
from infnet_runtime.metrics import LabelledSlice
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
        "[INF-7034] the candidate is too far from the reference on 1 of 2 sets (test: Dice "
    )
    assert "expected at most 0.003 and 1%; the costliest parts are logits (4.0e-03), rfb2 (1.0e-04)" in text


def test_opposite_shifts_of_two_sets_do_not_cancel() -> None:
    def shift(passed: bool) -> SetShift:
        return SetShift(1, 0.5, 0.5, 0.0, 100.0, 100.0, 0.0, "ml", passed)

    report = GateReport("a", "b", Limits(), {"up": shift(True), "down": shift(False)})
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


def test_volumes_take_the_path_of_the_segmenter(models: dict[str, Path]) -> None:
    phantom = chest_phantom((12, 96, 96), (10.0, 4.0, 4.0), noise_hu=0)
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    with (
        open_session(models["reference"], device="cpu", threads=1) as one,
        open_session(models["far"], device="cpu", threads=1) as other,
    ):
        volumes = {"scans": [("phantom", scan, phantom.infection)]}
        found = compare_models(one, other, {}, volumes).sets["scans"]
    assert found.unit == "ml"
    assert 0 < found.size_candidate < found.size_reference
    assert not found.passed


def test_nothing_to_compare_on_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(GateError, match=r"INF-7033\] no labelled set"):
        compare(models, "near")
    with pytest.raises(GateError, match=r"INF-7033\] set 'test' has no labelled case"):
        compare(models, "near", test=[])


def test_the_table_shows_every_set(models: dict[str, Path]) -> None:
    lines = compare(models, "near", one=[labelled("a")], two=[labelled("b")]).to_table().splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| one | 1 | ")
    assert lines[3].endswith("passed |")
    assert MANIFEST.output.threshold == pytest.approx(0.5)
