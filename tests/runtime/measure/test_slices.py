"""The table of slices: areas in mm2, numbers from the feet, and what the gate calls infected."""

import re

import numpy as np
import pytest

from infnet_runtime.measure.slices import findings, is_silenced, remark
from infnet_runtime.model.slice_gate import SliceGate

GATE = SliceGate(mm2=10.0, sensitivity=0.9, specificity=0.9, slices=9)


def marked(*pixels: int) -> np.ndarray:
    """Slices of 10 x 10 with so many pixels marked."""
    mask = np.zeros((len(pixels), 100), np.uint8)
    for plane, number in zip(mask, pixels, strict=True):
        plane[:number] = 1
    return mask.reshape(-1, 10, 10)


def test_slices_are_counted_from_the_feet_and_those_without_lung_left_out() -> None:
    mask = marked(0, 5, 40, 0)
    lungs = np.array([0, 1, 2, 3], np.uint8)[:, None, None] * np.ones((4, 10, 10), np.uint8)
    lungs[2, 5:] = 0  # half of the slice
    found = findings(mask, lungs, 0.5, GATE)
    assert [(f.number, f.lung_mm2, f.infection_mm2, f.infection_percent) for f in found] == [
        (2, 50.0, 2.5, 5.0),
        (3, 25.0, 20.0, 80.0),
        (4, 50.0, 0.0, 0.0),
    ]
    assert [(f.score_mm2, f.infected) for f in found] == [(2.5, False), (2.5, False), (0.0, False)]
    assert [f.number for f in found if is_silenced(f)] == [2, 3]


@pytest.mark.parametrize(
    ("pixels", "scores"),
    [
        ((30,), [30]),  # a single slice has no neighbour to ask
        ((30, 20), [20, 20]),
        ((30, 20, 5, 40, 0), [20, 20, 5, 5, 0]),
        ((0, 50, 0), [0, 0, 0]),
        ((50, 60, 70), [50, 60, 60]),
    ],
)
def test_the_score_is_what_a_neighbour_agrees_to(pixels: tuple[int, ...], scores: list[int]) -> None:
    found = findings(marked(*pixels), np.ones((len(pixels), 10, 10), np.uint8), 1.0, GATE)
    assert [f.score_mm2 for f in found] == scores
    assert [f.infected for f in found] == [score >= GATE.mm2 for score in scores]


def test_without_a_gate_or_a_size_nothing_is_called_infected() -> None:
    lungs = np.ones((1, 10, 10), np.uint8)
    (no_gate,), (no_size,) = findings(marked(3), lungs, 0.5), findings(marked(3), lungs, None, GATE)
    assert (no_gate.infected, no_gate.infection_mm2) == (None, 1.5)
    assert {no_size.infected, no_size.infection_mm2, no_size.score_mm2, no_size.lung_mm2} == {None}
    assert no_size.infection_percent == 3.0
    assert not is_silenced(no_gate)
    assert no_size.to_dict()["infection_mm2"] is None


@pytest.mark.parametrize(
    ("pixels", "plane_mm", "name", "says"),
    [
        ((4, 19, 0, 20, 20), 5.0, "slices_silenced", r"of 2 slices were taken out, 0\.1 ml in all.* 10 mm2"),
        ((0, 20, 20), 5.0, "slice_gate_without_effect", "what is marked reaches 10 mm2 everywhere"),
        ((4, 20), None, "slice_gate_without_effect", "the input has no voxel size"),
    ],
)
def test_a_remark_says_what_was_done(
    pixels: tuple[int, ...], plane_mm: float | None, name: str, says: str
) -> None:
    pixel_mm2 = None if plane_mm is None else 0.5
    found = findings(marked(*pixels), np.ones((len(pixels), 10, 10), np.uint8), pixel_mm2, GATE)
    flag = remark(found, GATE, plane_mm)
    assert (flag.name, flag.warns) == (name, False)
    assert re.search(says, flag.text)
