"""Augmentation on the device does what the one on the CPU does, for a whole batch at once."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.data.augment import AugmentConfig
from infnet_train.data.batch import Batch
from infnet_train.data.batches import Batching, batches
from infnet_train.data.datasets import LabelledSlices, load_source
from infnet_train.data.on_device import DeviceSlices
from infnet_train.data.source import SourceConfig
from infnet_train.machine.ranks import Ranks

SPEC = PreprocessSpec(size=64)
NEIGHBOURS = dataclasses.replace(SPEC, channels="neighbours", neighbour_step_mm=5.0)
SOURCE = SourceConfig(name="small", folder="small")
PICKS = [(0, 0), (0, 3), (1, 1)]


@pytest.fixture
def small(slices: Path) -> LabelledSlices:
    return load_source(slices, SOURCE, 64)


def made(
    slices: list[LabelledSlices], config: AugmentConfig, spec: PreprocessSpec = SPEC, **options: int
) -> Batch:
    size, seed = options.get("size", 64), options.get("seed", 0)
    own = range(options.get("start", 0), len(PICKS))
    on_device = DeviceSlices(slices, spec, "cpu")
    return on_device.batch(PICKS, config, own=own, size=size, seed=(seed, 1), hard_labels=False)


def grey_of(batch: Batch) -> torch.Tensor:
    std, mean = (torch.tensor(v)[:, None, None] for v in (SPEC.std, SPEC.mean))
    return batch.images * std + mean


def test_without_augmentation_the_batch_is_that_of_the_cpu(small: LabelledSlices) -> None:
    """At the size of the slices and at another one."""
    one = dataclasses.replace(SOURCE, draws=6)
    for size in (64, 32):
        config = Batching(batch_size=6, sizes=(size,))
        on_device = DeviceSlices([small], SPEC, "cpu")
        (expected,) = batches(config, SPEC, [(one, small)], Ranks(), step=0, epochs=1)
        (found,) = batches(config, SPEC, [(one, small)], Ranks(), step=0, epochs=1, on_device=on_device)
        for name in ("images", "masks", "edges"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-4)
        assert (found.keep, found.total) == (None, 6)


def test_mask_and_slice_move_together_and_by_what_was_asked(small: LabelledSlices) -> None:
    config = AugmentConfig(mirror=0.5, rotation_deg=15, shift=0.05, scale=0.2, aspect=0.1)
    moved = []
    for seed in range(6):
        batch = made([small, small], config, seed=seed)
        grey = grey_of(batch)[:, 0]
        for one, mask in zip(grey, batch.masks[:, 0], strict=True):
            assert float(one[mask > 0.9].mean()) * 255 == pytest.approx(140, abs=8)
        moved.append(batch.masks)
    assert not torch.equal(moved[0], moved[1])
    again = made([small, small], config, seed=0)
    assert torch.equal(again.masks, moved[0])


def test_a_shift_moves_the_picture_by_its_share_of_the_side(small: LabelledSlices) -> None:
    """The place of the infection moves by at most the shift, and nearly that in some of many batches."""
    rows, columns = np.mgrid[:64, :64]

    def centres(masks: torch.Tensor) -> np.ndarray:
        masks = masks[:, 0].numpy()
        weight = masks.sum((1, 2))
        return np.stack([(masks * p).sum((1, 2)) / weight for p in (rows, columns)], axis=1)

    before = centres(made([small, small], AugmentConfig()).masks)
    moves = [
        centres(made([small, small], AugmentConfig(shift=0.1), seed=s).masks) - before for s in range(20)
    ]
    assert 0.08 * 63 < np.abs(moves).max() < 0.1 * 63 + 0.5


def test_grey_changes_are_those_of_the_cpu(small: LabelledSlices) -> None:
    plain = grey_of(made([small, small], AugmentConfig()))
    bright = grey_of(made([small, small], AugmentConfig(brightness=0.2, contrast=0.3, gamma=0.3)))
    assert not torch.allclose(plain, bright)
    for one, other in zip(plain, bright, strict=True):  # a curve: what was brighter stays brighter
        order = one.flatten().argsort()
        assert (other.flatten()[order].diff() > -1e-4).all()
    noisy = grey_of(made([small, small], AugmentConfig(noise=0.1)))
    assert 0.005 < float((noisy - plain).std()) < 0.1
    assert noisy.min() >= 0
    assert noisy.max() <= 1 + 1e-6
    blurred = grey_of(made([small, small], AugmentConfig(blur=2.0)))
    assert blurred.diff(dim=-1).abs().mean() < plain.diff(dim=-1).abs().mean()
    torch.testing.assert_close(blurred.mean(), plain.mean(), rtol=0.02, atol=0)


def test_neighbours_ignored_pixels_and_ranks(small: LabelledSlices) -> None:
    ignore = np.zeros_like(small.images)
    ignore[0, :, :32] = 255
    rich = dataclasses.replace(small, ignore=ignore, below=small.images // 2, above=small.images.copy())
    batch = made([rich, small], AugmentConfig(), NEIGHBOURS)
    grey = grey_of(batch)
    torch.testing.assert_close(grey[0, 0], grey[0, 1] / 2, atol=0.01, rtol=0)
    assert torch.allclose(grey[0, 2], grey[0, 1], atol=1e-5)
    assert torch.allclose(grey[2, 0], grey[2, 1], atol=1e-5)  # the second source has none
    assert batch.keep is not None
    assert batch.keep[0, 0, :, :31].max() < 1e-4
    assert batch.keep[0, 0, :, 33:].min() > 1 - 1e-4
    assert batch.keep[1:].min() > 1 - 1e-4
    dropped = grey_of(made([rich, small], AugmentConfig(drop_neighbours=1.0, noise=0.1), NEIGHBOURS))
    assert torch.allclose(dropped[:, 2], dropped[:, 1], atol=1e-5)  # repeated with its noise
    config = AugmentConfig(mirror=0.5, rotation_deg=10, gamma=0.2)
    whole, part = (made([rich, small], config, NEIGHBOURS, start=start) for start in (0, 1))
    torch.testing.assert_close(whole.images[1:], part.images)
    assert part.total == 3
