"""Samples of the lung network: sides stay with the picture, batches repeat, kinds have their share."""

import dataclasses

import numpy as np
import pytest

from infnet_train.data.lungs.drawing import LungSlices
from infnet_train.data.lungs.stack import LungStack
from infnet_train.data.lungs.view import draw_view
from infnet_train.data.pictures import DataError

SIZE = 96


def test_a_batch_has_planes_in_grey_and_lungs_in_shares(chest: LungStack) -> None:
    batch = LungSlices([chest], {"radiopaedia": 1.0}, seed=0).batch(0, 6, size=SIZE)
    assert batch.planes.shape == (6, 3, SIZE, SIZE)
    assert batch.lungs.shape == (6, 2, SIZE, SIZE)
    for array in (batch.planes, batch.lungs):
        assert array.dtype == np.float32
        assert array.min() >= 0
        assert array.max() <= 1
    assert (batch.lungs.sum(axis=1) <= 1.01).all()


def test_a_batch_depends_on_seed_and_number_alone(chest: LungStack) -> None:
    one = LungSlices([chest], {"radiopaedia": 1.0}, seed=3)
    one.batch(0, 2, size=SIZE)
    again = LungSlices([chest], {"radiopaedia": 1.0}, seed=3).batch(7, 2, size=SIZE)
    assert np.array_equal(one.batch(7, 2, size=SIZE).planes, again.planes)
    other = LungSlices([chest], {"radiopaedia": 1.0}, seed=4).batch(7, 2, size=SIZE)
    assert not np.array_equal(again.planes, other.planes)


def test_right_lies_left_of_left_however_a_chest_is_turned_and_mirrored(chest: LungStack) -> None:
    slices = LungSlices([chest], {"radiopaedia": 1.0}, seed=0)
    compared = 0
    for number in range(12):
        for right, left in slices.batch(number, 8, size=SIZE).lungs:
            if right.sum() > 100 and left.sum() > 100:
                columns = np.arange(SIZE)
                place = [float((side.sum(axis=0) * columns).sum() / side.sum()) for side in (right, left)]
                assert place[0] < place[1]
                compared += 1
    assert compared > 40


def test_a_mirrored_view_exchanges_the_sides(chest: LungStack) -> None:
    """A chest with one lung: its shape decides the side, so a mirrored picture is the other lung's."""
    one_lung = dataclasses.replace(chest, sides=np.where(chest.sides == 1, 1, 0).astype(np.uint8))
    slices = LungSlices([one_lung], {"radiopaedia": 1.0}, seed=0)
    lungs = np.concatenate([slices.batch(n, 8, size=SIZE).lungs for n in range(6)])
    has = lungs.sum(axis=(2, 3)) > 50
    assert has[:, 0].any()
    assert has[:, 1].any()
    assert not has.all(axis=1).any()


def test_a_view_maps_the_picture_into_the_square(chest: LungStack) -> None:
    rows, columns = chest.hu.shape[1:]
    lungs = np.stack([chest.sides[10] == 1, chest.sides[10] == 2]).astype(np.uint8)
    for seed in range(30):
        view = draw_view(np.random.default_rng(seed), (0, rows, 0, columns), lungs, SIZE)
        assert 0 <= view.rows[0] < view.rows[1] <= rows
        assert 0 <= view.columns[0] < view.columns[1] <= columns
        assert view.seen((rows, columns), SIZE).mean() > 0.02
        assert (np.linalg.det(view.matrix[:, :2]) < 0) == view.is_mirrored


def test_kinds_without_scans_are_left_out_and_none_is_an_error(chest: LungStack) -> None:
    LungSlices([chest], {"radiopaedia": 0.5, "empty": 0.5}, seed=0).batch(0, 1, size=SIZE)
    with pytest.raises(DataError, match="the recipe draws empty, the data hold radiopaedia"):
        LungSlices([chest], {"empty": 1.0}, seed=0)


def test_a_scan_without_lung_gives_empty_samples(chest: LungStack) -> None:
    empty = dataclasses.replace(chest, sides=np.zeros_like(chest.sides))
    assert not LungSlices([empty], {"radiopaedia": 1.0}, seed=0).batch(0, 4, size=SIZE).lungs.any()
