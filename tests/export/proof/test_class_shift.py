"""Classes of the infection in the gate: small shifts pass, a class that turns into the other does not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from infnet_export.proof.class_shift import classes_of_case, faults_of_class, shift_of_class
from infnet_export.proof.gate import GateReport, check_gate, compare_models
from infnet_runtime.backends import open_session
from infnet_runtime.errors import GateError
from infnet_runtime.metrics.mask_limits import LIMITS
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.phantom import chest_phantom
from tiny_models import classes_detector, mid_grey_detector


def turned(source: Path, path: Path) -> Path:
    """What was ground glass is consolidation; the infection is the same."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.name == "steep":
            tensor.CopyFrom(numpy_helper.from_array(np.array(20.0, np.float32), "steep"))
    path.write_bytes(model.SerializeToString())
    return path


def disc(name: str) -> tuple[str, np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:192, :192]
    grey = np.clip(255 - np.hypot(rows - 96, columns - 96) * 2.4, 0, 255)
    return name, grey.astype(np.uint8), np.abs(grey / 255 - 0.45) < 0.15


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    reference = classes_detector(tmp_path / "reference.onnx")
    return {
        "reference": reference,
        "near": classes_detector(
            tmp_path / "near.onnx", of=mid_grey_detector(tmp_path / "g.onnx", gain=199.0)
        ),
        "turned": turned(reference, tmp_path / "turned.onnx"),
        "without": mid_grey_detector(tmp_path / "without.onnx"),
    }


def compare(models: dict[str, Path], candidate: str) -> GateReport:
    phantom = chest_phantom((12, 96, 96), (10.0, 4.0, 4.0), noise_hu=0)
    scan = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    with (
        open_session(models["reference"], device="cpu", threads=1) as one,
        open_session(models[candidate], device="cpu", threads=1) as other,
    ):
        return compare_models(one, other, {"slices": [disc("a")]}, {"scans": [("phantom", scan, None)]})


def test_classes_that_stay_pass_and_stand_in_the_report(models: dict[str, Path]) -> None:
    report = compare(models, "near")
    check_gate(report)
    assert {name: [c.name for c in one.classes] for name, one in report.sets.items()} == {
        "slices": ["ground glass", "consolidation"],
        "scans": ["ground glass", "consolidation"],
    }
    scans = report.sets["scans"]
    assert sum(c.size_reference for c in scans.classes) == pytest.approx(scans.size_reference)
    assert scans.size_reference > 1
    text = report.to_table()
    assert "Classes where the infection is:" in text
    assert "- slices: ground glass " in text
    assert "Allowed in ml: a class by at most 3% of the infection or 1 ml in each scan" in text
    assert [c["name"] for c in report.to_plain()["sets"]["scans"]["classes"]] == [
        "ground glass",
        "consolidation",
    ]


def test_classes_that_change_places_fail_though_the_infection_stays(models: dict[str, Path]) -> None:
    report = compare(models, "turned")
    for one in report.sets.values():
        assert (one.volume_shift, one.agreement) == (0, 1)
    with pytest.raises(
        GateError, match=r"ground glass of phantom moves from .* of the infection\)"
    ) as caught:
        check_gate(report)
    assert "too far from the reference on 2 of 2 sets" in str(caught.value)
    assert "and its masks with a Dice of 0.97" in str(caught.value)


def test_models_without_classes_have_none_in_their_report(models: dict[str, Path]) -> None:
    report = compare(models, "without")
    assert all(one.classes == () for one in report.sets.values())
    assert "Classes" not in report.to_table()
    assert "classes" not in report.to_plain()["sets"]["scans"]


def labels(ground_glass: int, consolidation: int) -> np.ndarray:
    return np.repeat(np.array([1, 2, 0], np.uint8), [ground_glass, consolidation, 10])


@pytest.mark.parametrize(
    ("found", "other", "faults"),
    [
        ((500, 500), (525, 475), 0),  # ml: 2.5 % of the infection
        ((500, 500), (532, 468), 4),  # both move too far, and their masks differ by as much
        ((990, 10), (1000, 0), 0),  # a class of 1 % is lost: no more than the infection itself may move
        ((950, 50), (975, 25), 1),  # 2.5 % of the infection and half of the class
        ((0, 0), (0, 0), 0),
    ],
)
def test_limits_of_a_scan(found: tuple[int, int], other: tuple[int, int], faults: int) -> None:
    cases = classes_of_case("scan", labels(*found), labels(*other), CLASS_OUTPUT, 1.0)
    assert sum(len(faults_of_class([case], LIMITS)) for case in cases) == faults
    assert shift_of_class([cases[0]]).size_reference == found[0]


def test_pictures_are_judged_by_their_sum() -> None:
    first = classes_of_case("a", labels(500, 500), labels(560, 440), CLASS_OUTPUT, None)
    second = classes_of_case("b", labels(500, 500), labels(440, 560), CLASS_OUTPUT, None)
    assert faults_of_class([first[0], second[0]], LIMITS) == []
    (fault,) = faults_of_class([first[0]], LIMITS)
    assert fault == "ground glass moves from 500.0 to 560.0 pixels (at most 3% of the infection)"
