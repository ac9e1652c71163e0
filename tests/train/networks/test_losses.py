"""Ignored pixels: they change nothing, and where there are none the loss has the bits it always had."""

import pytest
import torch
from torch import Tensor

from infnet_train.networks import SideOutputs
from infnet_train.networks.losses import BceForm, LossConfig, structure_loss_terms, total_loss

FORMS: tuple[BceForm, ...] = ("as_run", "weighted")
# Means in another order of adding, in single precision.
ROUNDING = 1e-5


def case() -> tuple[SideOutputs, Tensor, Tensor]:
    torch.manual_seed(0)
    maps = (torch.randn(3, 1, 64, 64) for _ in range(5))
    mask = (torch.rand(3, 1, 64, 64) > 0.7).float()
    return SideOutputs(*maps), mask, (torch.rand(3, 1, 64, 64) > 0.9).float()


@pytest.mark.parametrize("bce", FORMS)
def test_keeping_every_pixel_is_the_loss_without_a_choice(bce: BceForm) -> None:
    outputs, mask, edge = case()
    plain = total_loss(outputs, mask, edge, LossConfig(bce=bce))
    kept = total_loss(outputs, mask, edge, LossConfig(bce=bce), keep=torch.ones_like(mask))
    torch.testing.assert_close(kept, plain, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("bce", FORMS)
def test_what_is_predicted_on_ignored_pixels_does_not_matter(bce: BceForm) -> None:
    outputs, mask, edge = case()
    keep = torch.ones_like(mask)
    keep[0, :, 10:30, 10:30] = 0
    changed = SideOutputs(*(torch.where(keep > 0, m, -m + 3) for m in outputs if m is not None))
    one, other = (total_loss(o, mask, edge, LossConfig(bce=bce), keep=keep) for o in (outputs, changed))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert total_loss(changed, mask, edge, LossConfig(bce=bce)) != total_loss(
        outputs, mask, edge, LossConfig(bce=bce)
    )


def test_no_gradient_reaches_ignored_pixels() -> None:
    outputs, mask, edge = case()
    keep = torch.ones_like(mask)
    keep[1, :, 40:, :] = 0
    leaves = SideOutputs(*(m.requires_grad_() for m in outputs if m is not None))
    total_loss(leaves, mask, edge, keep=keep).backward()
    for leaf in leaves:
        assert leaf is not None
        assert leaf.grad is not None
        assert leaf.grad[1, :, 40:].abs().max() == 0
        assert leaf.grad[1, :, :39].abs().min() > 0
    assert leaves.edge is not None
    assert leaves.edge.grad is not None
    assert leaves.edge.grad[1, :, 39].abs().max() == 0  # an edge beside what is ignored says nothing


def test_a_slice_that_is_ignored_as_a_whole_has_no_loss() -> None:
    outputs, mask, _ = case()
    keep = torch.ones_like(mask)
    keep[2] = 0
    for bce in FORMS:
        terms = structure_loss_terms(outputs.s3, mask, bce=bce, keep=keep)
        first_two = structure_loss_terms(outputs.s3[:2], mask[:2], bce=bce)
        for found, expected in zip(terms, first_two, strict=True):
            assert torch.isfinite(found)
            torch.testing.assert_close(found, expected * 2 / 3, rtol=ROUNDING, atol=0)
