"""The lung network's shapes, its size, what it sees, and its loss."""

import pytest
import torch

from infnet_train.networks.lung_net import LungNet, LungProbabilities, lung_loss

LARGEST = 1_000_000  # parameters: 4 MB in FP32


@pytest.mark.parametrize("size", [96, 160])
def test_logits_have_the_size_of_the_input(size: int) -> None:
    assert LungNet().eval()(torch.zeros(1, 3, size, size)).shape == (1, 3, size, size)


def test_it_is_small() -> None:
    assert sum(p.numel() for p in LungNet().parameters()) < LARGEST


def test_the_middle_depends_on_the_corners() -> None:
    planes = torch.rand(1, 3, 160, 160, requires_grad=True)
    LungNet().eval()(planes)[0, :, 80, 80].sum().backward()  # type: ignore[no-untyped-call]
    assert planes.grad is not None
    for corner in (planes.grad[0, :, :8, :8], planes.grad[0, :, -8:, -8:]):
        assert corner.abs().sum() > 0


def test_probabilities_are_those_of_right_and_left() -> None:
    network = LungNet().eval()
    planes = torch.rand(2, 3, 96, 96)
    both = LungProbabilities(network)(planes)
    assert both.shape == (2, 2, 96, 96)
    assert torch.equal(both, torch.softmax(network(planes), dim=1)[:, 1:])


def test_the_loss_tells_sides_apart() -> None:
    lungs = torch.zeros(1, 2, 8, 8)
    lungs[:, 0, :, :3], lungs[:, 1, :, 5:] = 1, 1
    sure = 20 * torch.cat([1 - lungs.sum(dim=1, keepdim=True), lungs], dim=1)
    assert lung_loss(sure, lungs) < 1e-2
    assert lung_loss(sure[:, [0, 2, 1]], lungs) > 1


def test_empty_slices_have_a_loss_too() -> None:
    empty = torch.zeros(1, 2, 8, 8)
    lung_everywhere = torch.tensor([-9.0, 9.0, -9.0])[None, :, None, None].expand(1, 3, 8, 8)
    assert lung_loss(-lung_everywhere, empty) < lung_loss(lung_everywhere, empty)
