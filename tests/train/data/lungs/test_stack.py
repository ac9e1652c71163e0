"""Stacks: made small, written, read."""

from pathlib import Path

import numpy as np
import pytest

from infnet_train.data.lungs.stack import (
    LONGEST_SIDE,
    LungStack,
    grey_to_hu,
    read_stacks,
    shrunk,
    write_stack,
)
from infnet_train.data.pictures import DataError


def test_a_stack_comes_back_as_it_was(chest: LungStack, tmp_path: Path) -> None:
    write_stack(tmp_path, chest)
    (read,) = read_stacks(tmp_path)
    assert (read.name, read.kind, read.spacing_mm) == (chest.name, chest.kind, chest.spacing_mm)
    assert read.is_ordered is chest.is_ordered
    for one, other in ((read.hu, chest.hu), (read.sides, chest.sides), (read.seen, chest.seen)):
        assert np.array_equal(one, other)


def test_large_slices_shrink_with_their_spacing_and_boxes() -> None:
    hu = np.zeros((2, 640, 512), np.int16)
    sides = np.zeros(hu.shape, np.uint8)
    sides[:, 100:300, 100:200] = 1
    seen = np.zeros(hu.shape, bool)
    seen[:, 64:640, :256] = True
    stack = shrunk("a", "b", hu, sides, (5.0, 0.5, 0.5), seen=seen)
    assert stack.hu.shape == (2, LONGEST_SIDE, 256)
    assert stack.spacing_mm == (5.0, 1.0, 1.0)
    assert stack.seen.tolist() == [[32, 320, 0, 128]] * 2
    assert (stack.sides == 1).sum() == 2 * 100 * 50


def test_grey_keeps_its_order_in_hu() -> None:
    hu = grey_to_hu(np.arange(256, dtype=np.uint8))
    assert hu[0] == -1050
    assert hu[-1] == 250
    assert (np.diff(hu) > 0).all()


def test_masks_of_another_shape_are_refused(chest: LungStack) -> None:
    with pytest.raises(DataError, match="prepare the lung data again"):
        LungStack("a", "b", chest.hu, chest.sides[1:], (1, 1, 1), chest.seen, is_ordered=True)


def test_damaged_and_missing_stacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.npz"):
        read_stacks(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"a\.npz is damaged"):
        read_stacks(tmp_path)
