"""Neighbouring planes: the same distance in scans of any spacing, and the way from files into a batch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.data.augment import AugmentConfig, SlicePlanes, augment
from infnet_train.data.batches import Batching, batches, slice_planes
from infnet_train.data.datasets import load_source
from infnet_train.data.neighbours import neighbours_of
from infnet_train.data.pictures import DataError, read_grey
from infnet_train.data.prepared import check_neighbours
from infnet_train.data.source import SourceConfig
from infnet_train.machine.ranks import Ranks
from train_slices import write_picture, write_slice

SPEC = PreprocessSpec(size=64, channels="neighbours", neighbour_step_mm=5.0)
SOURCE = SourceConfig(name="small", folder="small")


@pytest.mark.parametrize(
    ("k", "planes", "spacing_mm", "expected"),
    [
        (20, 40, 1.0, (15, 25)),
        (20, 40, 2.5, (18, 22)),
        (20, 40, 6.0, (19, 21)),
        (20, 40, 10.0, (19, 21)),  # the plane beside it is as near to the step as the slice itself
        (20, 40, 10.1, (20, 20)),
        (0, 40, 6.0, (0, 1)),
        (39, 40, 1.0, (34, 39)),
        (0, 1, 6.0, (0, 0)),
    ],
)
def test_the_nearest_plane_within_the_scan(
    k: int, planes: int, spacing_mm: float, expected: tuple[int, int]
) -> None:
    assert neighbours_of(k, planes, spacing_mm, 5.0) == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six slices; the first has both neighbours, the second one of them, the first pixels to ignore."""
    folder = tmp_path / "data" / "small"
    for i in range(6):
        write_slice(folder, f"s{i}", seed=i)
    grey = read_grey(folder / "Imgs" / "s0.png")
    write_picture(folder / "Below" / "s0.png", grey // 2)
    write_picture(folder / "Above" / "s0.png", 255 - grey // 2)
    write_picture(folder / "Above" / "s1.png", grey // 3)
    ignore = np.zeros_like(grey)
    ignore[:, 50:] = 255
    write_picture(folder / "Ignore" / "s0.png", ignore)
    return folder


def test_slices_without_neighbours_repeat_themselves(folder: Path) -> None:
    slices = load_source(folder.parent, SOURCE, 64, neighbours=True)
    assert slices.below is not None
    assert slices.above is not None
    below, own, above = slices.grey(slice(0, 3)).swapaxes(0, 1) * 255
    np.testing.assert_allclose(below[0], own[0] / 2, atol=1.5)
    np.testing.assert_allclose(above[0], 255 - own[0] / 2, atol=1.5)
    assert np.array_equal(below[1], own[1])
    assert not np.array_equal(above[1], own[1])
    assert np.array_equal(below[2], own[2])
    assert slice_planes(slices, 1).below is None
    assert slice_planes(slices, 1).above is not None
    alone = load_source(folder.parent, SOURCE, 64)
    assert (alone.below, alone.above) == (None, None)
    assert alone.grey(slice(0, 2)).shape == (2, 1, 64, 64)


def test_a_neighbour_of_another_size_is_refused(folder: Path) -> None:
    write_picture(folder / "Below" / "s0.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match=r"Below/s0.png is \(20, 20\), its mask is \(70, 90\)"):
        load_source(folder.parent, SOURCE, 64, neighbours=True)


def test_the_channels_of_a_batch_are_below_own_above(folder: Path) -> None:
    source = dataclasses.replace(SOURCE, names=("s0", "s2"))
    batching = Batching(batch_size=2, sizes=(64,))
    slices = load_source(folder.parent, source, 64, neighbours=True)
    (batch,) = batches(batching, SPEC, [(source, slices)], Ranks(), step=0, epochs=1)
    std, mean = (torch.tensor(v)[:, None, None] for v in (SPEC.std, SPEC.mean))
    grey = batch.images * std + mean
    first = int((grey[:, 0] - grey[:, 1]).abs().amax(dim=(1, 2)).argmax())
    torch.testing.assert_close(grey[first, 0], grey[first, 1] / 2, atol=0.01, rtol=0)
    torch.testing.assert_close(grey[first, 2], 1 - grey[first, 1] / 2, atol=0.01, rtol=0)
    torch.testing.assert_close(grey[1 - first, 0], grey[1 - first, 2], atol=1e-6, rtol=0)
    assert batch.keep is not None
    assert batch.keep[1 - first].min() == 1
    assert (batch.keep[first, 0, :, :30].min(), batch.keep[first, 0, :, 40:].max()) == (1, 0)


def planes() -> SlicePlanes:
    rng = np.random.default_rng(0)
    own, below, above = rng.integers(0, 255, (3, 32, 32), np.uint8)
    nothing = np.zeros((32, 32), np.uint8)
    return SlicePlanes(own, nothing, nothing, nothing, below, above)


def test_the_planes_move_together_and_get_the_same_grey() -> None:
    one = planes()
    same = dataclasses.replace(one, below=one.image, above=one.image)
    config = AugmentConfig(mirror=0.5, rotation_deg=15, scale=0.2, gamma=0.3, contrast=0.2, brightness=0.1)
    for seed in range(5):
        grey = augment(same, config, np.random.default_rng(seed)).grey
        assert np.array_equal(grey[0], grey[1])
        assert np.array_equal(grey[2], grey[1])
    noisy = augment(same, AugmentConfig(noise=0.2), np.random.default_rng(0)).grey
    assert not np.array_equal(noisy[0], noisy[1])  # noise is each plane's own


def test_a_slice_alone_is_drawn_as_before() -> None:
    """The same numbers are drawn with and without neighbours until the noise."""
    one = planes()
    alone = dataclasses.replace(one, below=None, above=None)
    config = AugmentConfig(mirror=0.5, rotation_deg=15, scale=0.2, gamma=0.3, blur=1.0)
    with_neighbours = augment(one, config, np.random.default_rng(3)).grey
    assert np.array_equal(augment(alone, config, np.random.default_rng(3)).grey, with_neighbours[1])


def test_neighbours_are_dropped_as_often_as_asked() -> None:
    rng, one = np.random.default_rng(0), planes()
    kept = []
    for _ in range(400):
        grey = augment(one, AugmentConfig(drop_neighbours=0.4), rng).grey
        kept.append(tuple(not np.array_equal(grey[i], grey[1]) for i in (0, 2)))
    assert 210 < kept.count((True, True)) < 270
    assert 55 < kept.count((False, False)) < 105
    assert 20 < kept.count((True, False)) < 65
    assert 20 < kept.count((False, True)) < 65


def test_data_prepared_for_another_distance_are_refused(folder: Path) -> None:
    root, about = folder.parent, folder.parent / "prepared.json"
    check_neighbours(root, SPEC)  # nothing is known
    about.write_text('{"neighbour_step_mm": 5.0}')
    check_neighbours(root, SPEC)
    other = dataclasses.replace(SPEC, neighbour_step_mm=3.0)
    with pytest.raises(DataError, match=r"INF-3153.*prepared with neighbours at 5.0 mm, the recipe wants 3"):
        check_neighbours(root, other)
    check_neighbours(root, PreprocessSpec(size=64))
    about.write_text("{}")
    with pytest.raises(DataError, match="prepared.json is damaged"):
        check_neighbours(root, SPEC)
