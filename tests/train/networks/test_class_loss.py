"""The class losses: what each label asks for, what does not count, and the released targets, displaced."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from infnet_train.data.classes import read_classes
from infnet_train.data.datasets import load_source
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.networks import ClassMaps, SideOutputs
from infnet_train.networks.class_loss import class_loss, released_class_loss, released_targets
from infnet_train.networks.losses import LossConfig, total_loss

EQUAL = (1.0, 1.0, 1.0)
# Means in another order of adding, in single precision.
ROUNDING = 1e-5
SHARE = 5.1e-5  # half of the last of two decimals of a per cent


def plain(logits: Tensor, labels: Tensor) -> Tensor:
    return class_loss(logits, labels, weights=EQUAL, dice=0.0)


def case() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 1, 16, 16)).float()


def test_known_labels_give_the_cross_entropy() -> None:
    logits, labels = case()
    expected = functional.cross_entropy(logits, labels[:, 0].long())
    torch.testing.assert_close(plain(logits, labels), expected, rtol=ROUNDING, atol=0)


def test_infection_of_unknown_class_asks_for_either() -> None:
    logits, labels = case()
    probability = torch.softmax(logits, dim=1)
    found = plain(logits, torch.full_like(labels, 3))
    expected = -torch.log(probability[:, 1:].sum(1)).mean()
    torch.testing.assert_close(found, expected, rtol=ROUNDING, atol=0)
    swapped = plain(logits[:, [0, 2, 1]], torch.full_like(labels, 3))
    torch.testing.assert_close(found, swapped, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("dice", [0.0, 0.5])
def test_what_is_ignored_changes_nothing_and_gets_no_gradient(dice: float) -> None:
    logits, labels = case()
    labels[0, :, :5], keep = 255, torch.ones_like(labels)
    keep[1, :, 9:] = 0
    out = (labels == 255) | (keep == 0)
    losses = []
    for change in (0.0, 7.0):
        leaf = (logits + change * out * logits.sign()).requires_grad_()
        loss = class_loss(leaf, labels, weights=EQUAL, dice=dice, keep=keep)
        loss.backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert (leaf.grad * out).abs().max() == 0
        assert (leaf.grad.abs().sum(1, keepdim=True) > 0).equal(~out)
        losses.append(loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_a_batch_in_which_nothing_is_known_has_the_loss_zero_with_a_graph(dice: float) -> None:
    logits, labels = case()
    logits.requires_grad_()
    loss = class_loss(logits, torch.full_like(labels, 255), weights=EQUAL, dice=dice)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("label", [0.0, 1.0, 2.0, 3.0])
def test_a_batch_of_one_label_has_a_finite_loss_that_falls(label: float) -> None:
    """Also the classes that are missing in it."""
    logits, labels = case()
    labels = torch.full_like(labels, label)
    logits = (logits * 0).requires_grad_()
    losses = []
    for _ in range(3):
        loss = class_loss(logits, labels, weights=EQUAL, dice=0.5)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 10 * gradient).detach().requires_grad_()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[0] > losses[1] > losses[2]


def test_the_loss_of_a_batch_is_the_mean_over_its_slices() -> None:
    """So that ranks which train two slices and one together get what a single process gets."""
    logits, labels = case()
    labels[0, :, 3:] = 255
    both = class_loss(logits, labels, weights=(0.5, 1.0, 2.0), dice=0.5)
    each = [
        class_loss(logits[i : i + 1], labels[i : i + 1], weights=(0.5, 1.0, 2.0), dice=0.5) for i in (0, 1)
    ]
    torch.testing.assert_close(both, torch.stack(each).mean(), rtol=ROUNDING, atol=0)


def test_weights_are_those_of_the_label() -> None:
    logits, labels = case()
    for label, weight in ((0, 0.5), (1, 3.0), (2, 5.0), (3, 4.0)):
        of_one = torch.full_like(labels, label)
        found = class_loss(logits, of_one, weights=(0.5, 3.0, 5.0), dice=0.0)
        torch.testing.assert_close(found, weight * plain(logits, of_one), rtol=ROUNDING, atol=0)


def test_soft_dice_is_one_minus_dice_where_the_network_is_sure() -> None:
    labels = torch.zeros(1, 1, 8, 8)
    labels[..., :2, :], labels[..., 4:6, :] = 1, 2
    said = labels.clone()
    said[..., 0, :] = 0  # half of the ground glass is missed
    logits = functional.one_hot(said[:, 0].long(), 3).permute(0, 3, 1, 2) * 50.0
    extra = class_loss(logits, labels, weights=(0.0, 0.0, 0.0), dice=1.0)
    dice = ((2 * 8 + 1) / (16 + 8 + 1), 1.0)
    assert extra.item() == pytest.approx(1 - sum(dice) / 2, abs=ROUNDING)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_are_refused(channels: int) -> None:
    labels = torch.zeros(1, 1, 8, 8)
    for loss in (plain, released_class_loss):
        with pytest.raises(
            ValueError, match=rf"logits are \(1, {channels}, 8, 8\), .* of background, ground"
        ):
            loss(torch.zeros(1, channels, 8, 8), labels)
    with pytest.raises(ValueError, match="the class labels"):
        plain(torch.zeros(1, 3, 8, 8), labels[..., :4])


def as_they_wrote_it(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Targets of one slice, (3, rows, columns), by the rule in its simplest form: one element at a time."""
    flat = np.zeros(codes.size * 3, np.float32)
    for pixel, code in enumerate(codes.ravel().tolist()):
        flat[3 * pixel + {38: 1, 75: 2}.get(code, code) - 1] = 1
    first, second, third = np.moveaxis(flat.reshape(*codes.shape, 3), 2, 0)
    return np.stack([third, first, second])


def test_released_targets_are_displaced_as_in_the_released_code() -> None:
    codes = np.zeros((2, 12, 20), np.uint8)
    codes[0, 3:7, 4:9], codes[0, 6:9, 9:12] = 38, 75
    codes[0, 5, 8], codes[0, 2, 5], codes[1, 4, 3:9] = 20, 61, [1, 2, 3, 37, 60, 74]  # of a bilinear resize
    found = released_targets(torch.from_numpy(codes[:, None]).float()).numpy()
    for slice_found, slice_codes in zip(found, codes, strict=True):
        assert np.array_equal(slice_found, as_they_wrote_it(slice_codes))
    assert found[0, 0, -1, -1] == 1  # the background of the first pixel
    assert found[0, 0, 3, 3] == 0  # the background is that of the pixel before
    assert found[0, 0, 3, 8] == 1
    assert (found[0].sum(0) == 2).any()


@pytest.mark.data
def test_released_targets_are_as_wrong_as_those_of_the_released_code(data_root: Path) -> None:
    """Shares of pixels of the 50 training slices, as measured with the released code itself."""
    folder = "TrainingSet/MultiClassInfection-Train"
    source = SourceConfig(name="released", folder=folder, classes="GT", class_resize="bilinear")
    codes = load_source(data_root / "covid-semiseg", source, 352).classes
    assert codes is not None
    strange = (~np.isin(codes, (0, 38, 75))).mean(axis=(1, 2))
    assert (strange.mean(), strange.max()) == pytest.approx((0.0207, 0.0573), abs=SHARE)
    targets = released_targets(torch.from_numpy(codes[:, None]).float()).numpy()
    marked = targets.sum(axis=1)
    assert ((marked == 0).mean(), (marked > 1).mean()) == pytest.approx((0.0170, 0.0109), abs=SHARE)
    paths = sorted((data_root / "covid-semiseg" / folder / "GT").glob("*.png"))
    clean = [cv2.resize(read_classes(p), (352, 352), interpolation=cv2.INTER_NEAREST) for p in paths]
    first = targets[:, [1, 2, 0]].argmax(axis=1)  # the first of several, in the order of the released code
    assert (first != (np.stack(clean) + 2) % 3).mean() == pytest.approx(0.0237, abs=SHARE)


def test_a_value_that_points_beyond_the_slice_is_left_out() -> None:
    codes = torch.zeros(1, 1, 4, 4)
    codes[..., -1, -1] = 60
    targets = released_targets(codes)
    assert targets.sum() == 15


def test_the_released_loss_is_the_mean_over_three_sigmoids() -> None:
    logits, _ = case()
    codes = torch.zeros(2, 1, 16, 16)
    codes[:, :, 3:6, 3:9] = 38
    loss = released_class_loss(logits, codes)
    expected = functional.binary_cross_entropy_with_logits(logits, released_targets(codes))
    assert torch.equal(loss, expected)
    kept = released_class_loss(logits, codes, keep=torch.ones(2, 1, 16, 16))
    torch.testing.assert_close(kept, expected, rtol=ROUNDING, atol=0)


def test_the_class_loss_joins_the_sum_with_its_weight() -> None:
    logits, labels = case()
    mask = (labels > 0).float()
    alone = SideOutputs(logits[:, :1], None, None, logits[:, :1], None)
    assert torch.equal(total_loss(alone, mask, mask, classes=labels), total_loss(alone, mask, mask))
    maps = ClassMaps(logits)
    assert torch.equal(total_loss(maps, mask, mask, classes=labels), plain(logits, labels))
    assert torch.equal(
        total_loss(maps, mask, mask, LossConfig(class_weight=0.5), classes=labels),
        0.5 * plain(logits, labels),
    )
    assert torch.equal(
        total_loss(maps, mask, mask, LossConfig(class_loss="as_released"), classes=labels),
        released_class_loss(logits, labels),
    )


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"INF-3101\] class_dice is 2.0, expected 0 to 1"):
        LossConfig(class_dice=2.0)
    with pytest.raises(
        ConfigError, match=r"INF-3101\] a number of class_weights is -1.0, expected 0 or more"
    ):
        LossConfig(class_weights=(1.0, -1.0, 1.0))
    with pytest.raises(
        ConfigError, match=r"INF-3173\] class_loss is 'as_released', .* the released loss has"
    ):
        LossConfig(class_loss="as_released", class_dice=0.5)
