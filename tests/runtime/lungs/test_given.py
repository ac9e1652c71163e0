"""Lung masks from elsewhere: which label is which lung is known, or refused with the way out."""

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.errors import InputError
from infnet_runtime.lungs import given_lungs
from infnet_runtime.lungs.given import sides_exchanged
from infnet_runtime.plausible.both_lungs import both_lungs
from infnet_runtime.plausible.given_lungs import given_lungs as doubtful_lungs
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.scan.lung_mask import LungMask

CHEST = chest_phantom(noise_hu=0)
GRID = Grid(CHEST.lungs.shape, CHEST.affine)  # stored in LPS order
UPPER = np.arange(20)[:, None, None] >= 10
FRONT = np.arange(72)[None, :, None] < 36
RIGHT_LUNG, LEFT_LUNG = CHEST.lungs == RIGHT, CHEST.lungs == LEFT


def read(labels: np.ndarray, named: str | None = None) -> LungMask:
    return given_lungs(labels, GRID, named=None if named is None else LungLabels.parse(named))


def numbered(right: tuple[int, ...], left: tuple[int, ...]) -> np.ndarray:
    """Lobes of each side: upper, lower, and middle where there are three."""
    labels = np.zeros(CHEST.lungs.shape, np.uint8)
    for lung, lobes in ((RIGHT_LUNG, right), (LEFT_LUNG, left)):
        labels[lung & UPPER], labels[lung & ~UPPER] = lobes[:2]
        labels[lung & UPPER & FRONT] = lobes[-1] if len(lobes) == 3 else lobes[0]
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_right_and_left_stay(dtype: type) -> None:
    mask = read(CHEST.lungs.astype(dtype))
    assert np.array_equal(mask.to_lps(), CHEST.lungs)
    assert (mask.remark, mask.origin, mask.labels.dtype) == ("", "given", np.uint8)


@pytest.mark.parametrize(
    ("right", "left"), [((3, 4, 5), (1, 2)), ((12, 13, 14), (10, 11)), ((15, 16, 17), (13, 14))]
)
def test_known_lobes_become_sides(right: tuple[int, int, int], left: tuple[int, int]) -> None:
    assert np.array_equal(read(numbered(right, left)).to_lps(), CHEST.lungs)


@pytest.mark.parametrize("value", [1, 2, 3, 255, 1000])
def test_one_label_is_split(value: int) -> None:
    assert np.array_equal(read((CHEST.lungs > 0) * np.int32(value)).to_lps(), CHEST.lungs)


def test_booleans_are_split_and_not_all_right_lung() -> None:
    assert np.array_equal(read(CHEST.lungs > 0).to_lps(), CHEST.lungs)


@pytest.mark.parametrize(("side", "name"), [(RIGHT, "right"), (LEFT, "left")])
def test_one_lung_of_one_label_has_no_side_until_it_is_named(side: int, name: str) -> None:
    mask = (CHEST.lungs == side).astype(np.uint8)
    for unnamed in (read(mask), read(mask > 0), read(mask, "lung=1")):
        assert np.array_equal(unnamed.to_lps(), mask * 3)
        (flag,) = both_lungs(unnamed)
        assert (flag.name, flag.warns) == ("side_unknown", True)
        assert "--lung-labels" in flag.text
    assert np.array_equal(read(mask, f"{name}=1").to_lps(), mask * side)


def test_the_number_2_alone_is_the_left_lung() -> None:
    assert np.array_equal(read(LEFT_LUNG * np.uint8(LEFT)).to_lps(), LEFT_LUNG * LEFT)


@pytest.mark.parametrize("stray", [3, 5, 77, 300])
def test_strays_do_not_decide_what_the_others_mean(stray: int) -> None:
    labels = CHEST.lungs.astype(np.int32)
    within = tuple(np.argwhere(RIGHT_LUNG)[1000])
    labels[within], labels[10, 2, 2] = stray, stray
    mask = read(labels)
    expected = CHEST.lungs.copy()
    assert np.array_equal(mask.to_lps(), expected)
    assert f"{stray} (2 voxels" in mask.remark
    assert "1 of these voxels touch a lung" in mask.remark


def test_a_thread_of_strays_through_a_lung_becomes_lung() -> None:
    labels = CHEST.lungs.copy()
    rows = np.flatnonzero(LEFT_LUNG[10, :, 70])[:12]
    labels[10, rows, 70] = 9
    assert np.array_equal(read(labels).to_lps(), CHEST.lungs)


def test_strays_in_a_mask_of_one_label() -> None:
    labels = np.where(CHEST.lungs > 0, np.uint8(1), np.uint8(0))
    labels[tuple(np.argwhere(LEFT_LUNG)[500])] = 2
    assert np.array_equal(read(labels).to_lps(), CHEST.lungs)


def test_lobes_of_which_one_is_hardly_in_the_picture() -> None:
    labels = numbered((3, 5, 3), (1, 2))
    labels[tuple(np.argwhere(RIGHT_LUNG)[-3:].T)] = 4
    mask = read(labels)
    assert (mask.remark, np.array_equal(mask.to_lps(), CHEST.lungs)) == ("", True)


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (np.array([0, 2, 1], np.uint8)[CHEST.lungs], "right=2,left=1"),
        (numbered((1, 2), (3, 4, 5)), "right=1+2,left=3+4+5"),
        (numbered((10, 11), (12, 13, 14)), "right=10+11,left=12+13+14"),
    ],
)
def test_exchanged_sides_are_refused_with_the_way_out(labels: np.ndarray, remedy: str) -> None:
    with pytest.raises(InputError, match=r"sides of the lung mask are exchanged") as caught:
        read(labels)
    assert caught.value.code == 3064
    assert f"--lung-labels {remedy}" in str(caught.value)
    assert np.array_equal(read(labels, remedy).to_lps(), CHEST.lungs)


def infected(*numbers: int) -> np.ndarray:
    """Right, left, infection."""
    labels = np.array([0, *numbers[:2]], np.uint8)[CHEST.lungs]
    labels[CHEST.infection] = numbers[2]
    return labels


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (infected(1, 2, 3), "right=1,left=2,lung=3"),
        (infected(2, 1, 3), "right=2,left=1,lung=3"),  # as in the set of Ma and others
        (infected(1, 1, 2), "lung=1,right=2"),
        (
            np.where(CHEST.infection & (np.arange(96) < 20), 3, CHEST.lungs),
            "right=1+3,left=2",
        ),  # as lobes lie
        (numbered((1, 1), (3, 4)), "right=1,left=3+4"),
        (numbered((4, 5), (1, 2)), "right=4+5,left=1+2"),  # a lobe was taken out
        (infected(3, 4, 5), "right=3,left=4,lung=5"),
        (numbered((1, 2, 3), (4, 5)), "right=1+2+3,left=4+5"),  # nnU-Net and others, from the right on
        (numbered((4, 5, 6), (7, 8)), "right=4+5+6,left=7+8"),  # LUNA16
        (numbered((1, 2), (1, 2)), "lung=1+2"),  # upper and lower
    ],
)
def test_uncertain_labels_are_refused_and_can_be_named(labels: np.ndarray, remedy: str) -> None:
    with pytest.raises(InputError, match=r"not certain which is which lung|are exchanged") as caught:
        read(labels)
    assert caught.value.code in (3061, 3064)
    assert "--lung-labels " in str(caught.value)
    assert np.array_equal(read(labels, remedy).to_lps(), CHEST.lungs)


def test_a_rim_of_the_other_label_is_refused() -> None:
    """A mask that was resampled with interpolation has 1 at the border of 2."""
    labels = CHEST.lungs.copy()
    inner = LEFT_LUNG.copy()
    for axis in (1, 2):
        inner &= np.roll(LEFT_LUNG, 1, axis) & np.roll(LEFT_LUNG, -1, axis)
    labels[LEFT_LUNG & ~inner] = 1
    with pytest.raises(InputError, match="not certain"):
        read(labels)


def test_labels_that_are_not_named_are_no_lung_and_are_told() -> None:
    labels = infected(1, 2, 3)
    mask = read(labels, "right=1,left=2")
    assert np.array_equal(mask.to_lps(), np.where(CHEST.infection, 0, CHEST.lungs))
    assert mask.remark.startswith("labels of the lung mask that are not named count as no lung: 3 (")


def test_names_that_contradict_the_place_are_followed_and_noticed() -> None:
    mask = read(CHEST.lungs, "right=2,left=1")
    assert np.array_equal(mask.to_lps() == RIGHT, LEFT_LUNG)
    assert sides_exchanged(mask.to_lps())
    assert not sides_exchanged(CHEST.lungs)
    assert not sides_exchanged(RIGHT_LUNG.astype(np.uint8))


def test_names_of_labels_that_are_not_there() -> None:
    with pytest.raises(
        InputError, match=r"has none of the labels 3 of right=1,left=3; it has 1 \("
    ) as caught:
        read(CHEST.lungs, "right=1,left=3")
    assert caught.value.code == 3065


@pytest.mark.parametrize(
    "text", ["", "right", "right=", "right=a", "up=1", "right=1,right=2", "right=1,left=1"]
)
def test_names_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="expected for example right=1,left=2") as caught:
        LungLabels.parse(text)
    assert caught.value.code == 3065


def test_names_are_printed_as_they_are_read() -> None:
    assert str(LungLabels.parse("left=1+2, right=3+4+5")) == "right=3+4+5,left=1+2"


def test_a_scan_given_for_a_mask() -> None:
    with pytest.raises(InputError, match="expected the few labels of a lung mask") as caught:
        read(np.arange(GRID.shape[0] * 72 * 96, dtype=np.int32).reshape(GRID.shape))
    assert caught.value.code == 3061


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="is empty: no voxel is marked") as caught:
        read(np.zeros(GRID.shape, np.uint8))
    assert caught.value.code == 3066


def test_touching_lungs_of_one_label_are_split() -> None:
    labels = CHEST.lungs > 0
    labels[5:15, 22:25, 40:60] = True
    right = read(labels).to_lps() == RIGHT
    assert 2 * (right & RIGHT_LUNG).sum() / (right.sum() + RIGHT_LUNG.sum()) > 0.97


def test_lungs_of_one_label_that_touch_are_cut_and_said_to_be() -> None:
    apart = read(CHEST.lungs > 0)
    assert apart.cut_slices == 0
    bridged = CHEST.lungs > 0
    rows = np.flatnonzero((CHEST.lungs[10] == RIGHT).any(axis=1) & (CHEST.lungs[10] == LEFT).any(axis=1))
    row = int(rows[len(rows) // 2])
    first, last = (np.flatnonzero(CHEST.lungs[10, row] == side) for side in (RIGHT, LEFT))
    bridged[10, row, first[-1] : last[0]] = True
    touching = read(bridged)
    assert touching.cut_slices == 1
    scan = CtVolume(CHEST.hu, CHEST.affine, Intensity.HU, "scan")
    assert "lungs_touching" in [flag.name for flag in doubtful_lungs(scan, touching)]
    assert "lungs_touching" not in [flag.name for flag in doubtful_lungs(scan, apart)]
    assert read(np.where(bridged & (CHEST.lungs == 0), RIGHT, CHEST.lungs)).cut_slices == 0  # as labelled
