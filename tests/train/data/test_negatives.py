"""Normal cases: cropped to the lungs of their group, split by a fixed rule, refused where no lung is."""

from pathlib import Path

import numpy as np
import pytest

from infnet_train.data.negatives import groups_held_back, normal_slices
from infnet_train.data.pictures import DataError
from train_slices import write_picture

GROUPS = 11


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two slices of each of eleven groups; the second shows smaller lungs."""
    rows = ["file,source_number,group"]
    row, column = np.mgrid[:256, :256]
    for i in range(2 * GROUPS):
        image = np.full((256, 256), 32.0)
        image[((row - 128) / 90) ** 2 + ((column - 128) / 120) ** 2 < 1] = 215
        size = 1.0 - 0.3 * (i % 2)
        for middle in (78, 178):
            image[((row - 128) / (60 * size)) ** 2 + ((column - middle) / (36 * size)) ** 2 < 1] = 48
        write_picture(tmp_path / "images" / f"normal_{i:03d}.png", image.astype(np.uint8))
        rows.append(f"normal_{i:03d}.png,{i},{3 * (i // 2)}")
    (tmp_path / "slices.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_fifth_of_the_groups_is_held_back_whole(folder: Path) -> None:
    training = [s.name for s in normal_slices(folder, held_back=False)]
    measuring = [s.name for s in normal_slices(folder, held_back=True)]
    assert measuring == ["normal_016", "normal_017", "normal_018", "normal_019"]
    assert sorted(training + measuring) == [f"normal_{i:03d}" for i in range(2 * GROUPS)]
    assert groups_held_back(set(range(100))) == {10 * i + k for i in range(10) for k in (8, 9)}


def test_the_crop_is_that_of_the_group_and_nothing_is_infected(folder: Path) -> None:
    large, small = list(normal_slices(folder, held_back=False))[:2]
    assert large.grey.shape == small.grey.shape
    rows, columns = large.grey.shape
    assert 120 < rows < 145
    assert 172 < columns < 200
    assert (small.grey == 48).sum() < (large.grey == 48).sum()
    assert not large.infection.any()
    assert large.infection.shape == large.grey.shape
    assert (large.below, large.above, large.ignore) == (None, None, None)


def test_pictures_without_lungs_and_foreign_tables(folder: Path) -> None:
    write_picture(folder / "images" / "normal_003.png", np.full((256, 256), 215, np.uint8))
    with pytest.raises(
        DataError, match=r"no lung was found in .*normal_003.png; expected whole chest slices"
    ):
        list(normal_slices(folder, held_back=False))
    (folder / "slices.csv").write_text("file,group\na,x\n")
    with pytest.raises(DataError, match="slices.csv is not a table of file and group"):
        list(normal_slices(folder, held_back=False))
    (folder / "slices.csv").unlink()
    with pytest.raises(DataError, match="slices.csv cannot be read"):
        list(normal_slices(folder, held_back=False))
