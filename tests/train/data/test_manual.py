"""Manual labels for unlabelled pictures: what is unsure is ignored, neighbours lie where the slice lies."""

from pathlib import Path

import numpy as np
import pytest

from infnet_runtime.arrays import ByteArray
from infnet_train.data.manual import manual_slices
from infnet_train.data.pictures import DataError
from infnet_train.data.prepared import PreparedSlice
from infnet_train.data.semiseg import PSEUDO
from train_slices import blobs, write_picture

CASE = "Data-1_radiopaedia_org_covid-19-pneumonia-14_85914_0-dcm"  # needs no change of grey
FRAME = 140
SHAPE = (90, 100)


def plane(number: int) -> ByteArray:
    """The whole field of one plane of the scan."""
    return blobs(100 + number, (FRAME, FRAME))


def corner(number: int) -> tuple[int, int]:
    return 5 + 2 * number, 8 - number % 4


def cut(number: int, at: tuple[int, int]) -> ByteArray:
    return plane(number)[at[0] : at[0] + SHAPE[0], at[1] : at[1] + SHAPE[1]]


def store(path: Path, upright: ByteArray) -> None:
    write_picture(path, np.ascontiguousarray(upright.T))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Seven pictures; the last two are not labelled, and the fifth one's place is not written down."""
    manual, semiseg = tmp_path / "manual", tmp_path / "semiseg"
    rows = ["picture,case,row,column"]
    for number in range(1, 8):
        name = f"{CASE}_{number}"
        store(semiseg / PSEUDO / "Imgs" / f"{name}.jpg", cut(number, corner(number)))
        if number == 5 or number > 6:
            continue
        rows.append(f"{name},14_85914_0,{corner(number)[0]},{corner(number)[1]}")
        drawn = np.zeros(SHAPE, np.uint8)
        drawn[20:60, 30:50] = 255
        sure = drawn.copy()
        if number != 2:
            sure[20:30] = 0
        store(manual / "GT" / f"{name}.png", drawn)
        store(manual / "GT-trimmed" / f"{name}.png", sure)
    (manual / "pairs.csv").write_text("\n".join(rows) + "\n")
    (manual / "negatives.txt").write_text(f"{CASE}_5\nData-1_coronacases_org_005_106\n")
    return manual, semiseg


def made(sets: tuple[Path, Path], step_mm: float = 2.0) -> dict[str, PreparedSlice]:
    return {s.name.removeprefix(f"{CASE}_"): s for s in manual_slices(*sets, step_mm=step_mm)}


def test_what_only_the_wide_label_holds_is_ignored(sets: tuple[Path, Path]) -> None:
    slices = made(sets)
    assert list(slices) == ["1", "2", "3", "4", "5", "6"]  # not the unsure one of the case 005
    first = slices["1"]
    assert first.ignore is not None
    assert (first.infection > 0).sum() == 30 * 20
    assert np.array_equal(first.ignore[20:30, 30:50], np.full((10, 20), 255))
    assert (first.ignore > 0).sum() == 10 * 20
    assert slices["2"].ignore is None
    assert not slices["5"].infection.any()  # left out between labelled ones: nothing was marked


def test_neighbours_are_moved_to_the_place_of_the_slice(sets: tuple[Path, Path]) -> None:
    slices = made(sets)
    three = slices["3"]
    assert three.below is not None
    # Picture 1 lies 4 rows higher and 2 columns further right; JPEG changes a few levels.
    expected = cut(1, corner(3))
    assert np.abs(three.below[:80, 5:90].astype(int) - expected[:80, 5:90]).max() < 25
    assert np.abs(three.below[:80, 5:90].astype(int) - expected[:80, 5:90]).mean() < 2
    assert np.array_equal(three.below[86:], three.grey[86:])  # beyond the neighbour the slice itself
    assert slices["1"].below is None
    assert slices["1"].above is not None
    assert slices["4"].above is not None
    assert slices["6"].above is None  # there is none
    five_from_three = three.above  # its place is between those of 4 and 6
    assert five_from_three is not None
    expected = cut(5, corner(3))
    assert np.abs(five_from_three[10:, 5:90].astype(int) - expected[10:, 5:90]).mean() < 8
    assert all(s.below is None or s.below.shape == SHAPE for s in slices.values())


def test_neighbours_are_as_far_as_asked(sets: tuple[Path, Path]) -> None:
    far = made(sets, step_mm=4.0)
    assert far["1"].above is not None
    assert far["3"].below is None


def test_tables_that_are_missing_or_foreign(sets: tuple[Path, Path]) -> None:
    (sets[0] / "pairs.csv").write_text("file,row\na_1,x\n")
    with pytest.raises(DataError, match="pairs.csv is not a table of picture, row and column"):
        made(sets)
    (sets[0] / "pairs.csv").unlink()
    with pytest.raises(DataError, match="pairs.csv cannot be read"):
        made(sets)
