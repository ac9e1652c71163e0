"""Augmentation: image and mask move together, nothing changes where it is off."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_train.data.augment import AugmentConfig, augment
from infnet_train.data.batches import slice_planes
from infnet_train.data.datasets import LabelledSlices, load_source
from infnet_train.data.source import SourceConfig


@pytest.fixture
def data(slices: Path) -> LabelledSlices:
    return load_source(slices, SourceConfig(name="small", folder="small"), 96)


def test_augmentation_moves_mask_and_image_together(data: LabelledSlices) -> None:
    config = AugmentConfig(mirror=0.5, rotation_deg=15, shift=0.05, scale=0.2, aspect=0.1)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        grey, mask, *_ = augment(slice_planes(data, 0), config, rng)
        assert grey[mask > 0.9].mean() * 255 == pytest.approx(140, abs=5)


def test_no_augmentation_changes_nothing(data: LabelledSlices) -> None:
    rng = np.random.default_rng(0)
    grey, mask, edge, *_ = augment(slice_planes(data, 0), AugmentConfig(), rng)
    for found, given in ((grey, data.images[0]), (mask, data.masks[0]), (edge, data.edges[0])):
        assert np.array_equal(np.rint(found * 255), given)


def test_enhancement_equalises_the_grey_alone(data: LabelledSlices) -> None:
    planes = data.images[0], data.masks[0], data.edges[0]
    grey, mask, edge, *_ = augment(slice_planes(data, 0), AugmentConfig(enhance=1), np.random.default_rng(0))
    assert np.array_equal(np.rint(mask * 255), planes[1])
    assert np.array_equal(np.rint(edge * 255), planes[2])
    assert grey.dtype == np.float32
    assert 0 <= grey.min() <= grey.max() <= 1
    # Between the weakest and the strongest limit the local contrast in the lung lies between theirs.
    lung = np.s_[30:60, 15:35]
    weak, strong = (cv2.createCLAHE(limit, (8, 8)).apply(planes[0])[lung].std() for limit in (1, 4))
    assert weak < (grey[lung] * 255).std() < strong
    assert (grey[lung] * 255).std() > planes[0][lung].std()


def test_enhancement_is_as_frequent_as_asked_and_off_draws_nothing(data: LabelledSlices) -> None:
    planes = data.images[0], data.masks[0], data.edges[0]
    rng = np.random.default_rng(0)
    half = [augment(slice_planes(data, 0), AugmentConfig(enhance=0.5), rng)[0] for _ in range(100)]
    changed = sum(not np.array_equal(np.rint(grey * 255), planes[0]) for grey in half)
    assert 30 < changed < 70
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    augment(slice_planes(data, 0), AugmentConfig(), one)
    augment(slice_planes(data, 0), AugmentConfig(enhance=0.0), other)
    assert one.uniform() == other.uniform()
