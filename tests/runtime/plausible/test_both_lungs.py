"""One lung is said to be one, and never 0 ml on the other side."""

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.measure.burden import quantify
from infnet_runtime.plausible.both_lungs import both_lungs
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.scan.sides import EITHER
from quantified import why_missing

PHANTOM = chest_phantom()
GRID = Grid(PHANTOM.hu.shape, PHANTOM.affine)


def lungs_with(labels: dict[int, int]) -> np.ndarray:
    """Lungs of the phantom, with other labels for right and left."""
    return np.array([0, labels.get(RIGHT, 0), labels.get(LEFT, 0)], np.uint8)[PHANTOM.lungs]


@pytest.mark.parametrize(("side", "missing"), [(RIGHT, "left"), (LEFT, "right")])
def test_a_missing_lung_warns_with_its_side(side: int, missing: str) -> None:
    (flag,) = both_lungs(lung_mask(lungs_with({side: side}), GRID))
    assert flag.name == "lung_missing"
    assert flag.warns
    assert f"no {missing} lung was found" in flag.text


def test_a_lung_of_unknown_side_warns() -> None:
    (flag,) = both_lungs(lung_mask(lungs_with({RIGHT: EITHER}), GRID, origin="threshold"))
    assert flag.name == "side_unknown"
    assert flag.warns


@pytest.mark.parametrize("labels", [{RIGHT: RIGHT, LEFT: LEFT}, {}])
def test_two_lungs_and_none_are_said_elsewhere(labels: dict[int, int]) -> None:
    assert both_lungs(lung_mask(lungs_with(labels), GRID, origin="threshold")) == ()


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_a_side_without_lung_is_none_and_both_is_the_other(side: int) -> None:
    q = quantify(PHANTOM.infection.astype(np.uint8), lungs_with({side: side}), 0.2)
    there, missing = (q.right, q.left) if side == RIGHT else (q.left, q.right)
    assert missing is None
    assert there is not None
    assert there == q.both
    assert why_missing(q) == {"left" if side == RIGHT else "right": "no_lung"}


def test_a_lung_of_unknown_side_counts_for_both_only() -> None:
    q = quantify(PHANTOM.infection.astype(np.uint8), lungs_with({RIGHT: EITHER}), 0.2)
    assert q.both is not None
    assert q.both.lung_ml == pytest.approx(0.2 * np.count_nonzero(PHANTOM.lungs == RIGHT))
    assert q.both.infection_ml == pytest.approx(0.2 * np.count_nonzero(PHANTOM.infection))
    assert q.right is q.left is None
    assert why_missing(q) == {"right": "side_unknown", "left": "side_unknown"}


def test_without_lung_no_number_is_given() -> None:
    q = quantify(np.zeros_like(PHANTOM.lungs), lungs_with({}), 0.2)
    assert (q.both, q.right, q.left, q.infection_outside_lungs_ml) == (None,) * 4
    missing = why_missing(q)
    assert set(missing) == {"both", "right", "left", "infection_outside_lungs_ml"}
    assert set(missing.values()) == {"no_lung"}


def one_lung_in_the_picture(side: int, room: float) -> tuple[np.ndarray, np.ndarray]:
    """Lungs and infection of the phantom, cut on the inner side of one lung at this share of its width."""
    lungs = np.where(PHANTOM.lungs == side, PHANTOM.lungs, 0).astype(np.uint8)
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    first, last = int(columns[0]), int(columns[-1])
    beyond = round(room * (last - first + 1))
    kept = slice(0, last + 1 + beyond) if side == RIGHT else slice(first - beyond, None)
    return lungs[:, :, kept], PHANTOM.infection.astype(np.uint8)[:, :, kept]


@pytest.mark.parametrize("room", [0.0, 0.2])
@pytest.mark.parametrize(("side", "other"), [(RIGHT, "left"), (LEFT, "right")])
def test_a_lung_that_was_not_scanned_has_no_millilitres_and_says_so(
    side: int, other: str, room: float
) -> None:
    lungs, infection = one_lung_in_the_picture(side, room)
    q = quantify(infection, lungs, 0.2)
    numbers = q.to_dict()[other]
    assert {name: value for name, value in numbers.items() if value is not None} == {
        "lung_ml": 0.0,
        "infection_ml": 0.0,
    }
    assert why_missing(q) == {f"{other}.infection_percent": "outside_the_picture"}
    grid = Grid(lungs.shape, PHANTOM.affine)
    (flag,) = both_lungs(lung_mask(lungs, grid))
    assert (flag.name, flag.warns) == ("lung_outside_the_picture", True)
    assert f"ends before the {other} lung" in flag.text


@pytest.mark.parametrize(("side", "other"), [(RIGHT, "left"), (LEFT, "right")])
def test_a_lung_that_could_be_there_has_no_number(side: int, other: str) -> None:
    lungs, infection = one_lung_in_the_picture(side, 0.5)
    q = quantify(infection, lungs, 0.2)
    assert q.to_dict()[other] is None
    assert why_missing(q) == {other: "no_lung"}
    (flag,) = both_lungs(lung_mask(lungs, Grid(lungs.shape, PHANTOM.affine)))
    assert flag.name == "lung_missing"
