"""A prior beside the slice: normalised as the slice is, and the two networks as one."""

import pytest
import torch

from infnet_runtime.model.specs import IMAGENET_MEAN, IMAGENET_STD
from infnet_runtime.model.specs import PreprocessSpec as Spec
from infnet_runtime.slices.preprocess import normalise
from infnet_train.networks import ClassMaps, InfectionMap, Network
from infnet_train.networks.guided import Guided, beside
from small_network import Plain, PlainClasses

# Float32 arithmetic in another order.
ROUNDING = 1e-6


def test_a_prior_is_normalised_as_a_slice_of_that_grey() -> None:
    images, prior = torch.randn(2, 3, 8, 8), torch.rand(2, 1, 8, 8)
    joined = beside(images, prior, IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(joined[:, :3], images)
    as_slice = torch.from_numpy(normalise(prior[:, 0].numpy(), Spec()))
    torch.testing.assert_close(joined[:, 3:], as_slice, rtol=0, atol=ROUNDING)


def test_an_empty_prior_is_what_black_is() -> None:
    joined = beside(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), IMAGENET_MEAN, IMAGENET_STD)
    expected = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(joined[0, 3:, 2, 2], expected)


@pytest.mark.parametrize(("channels", "prior"), [(1, (2, 1, 8, 8)), (3, (2, 3, 8, 8)), (3, (1, 1, 8, 8))])
def test_other_shapes_are_refused(channels: int, prior: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"slices are \(2, {channels}, 8, 8\), their prior is"):
        beside(torch.zeros(2, channels, 8, 8), torch.zeros(prior), IMAGENET_MEAN, IMAGENET_STD)


def test_two_networks_are_one_from_slices_to_classes() -> None:
    infection, second, images = Plain().eval(), PlainClasses(6).eval(), torch.randn(2, 3, 32, 32)
    outputs = Guided(infection, second, IMAGENET_MEAN, IMAGENET_STD).eval()(images)
    found = infection(images).prediction
    prior = torch.sigmoid(found)
    assert torch.equal(outputs.prediction, found)
    assert torch.equal(outputs.classes, second(beside(images, prior, IMAGENET_MEAN, IMAGENET_STD)).classes)
    assert outputs.infection_maps == {}
    assert outputs.edge is None
    assert outputs.to_float().classes.dtype == torch.float32


def test_a_second_network_that_knows_no_classes_speaks_for_itself() -> None:
    class Second(Network):
        def forward(self, x: torch.Tensor) -> InfectionMap:
            return InfectionMap(x[:, 3:4] * 2)

    outputs = Guided(Plain().eval(), Second(), IMAGENET_MEAN, IMAGENET_STD)(torch.randn(1, 3, 8, 8))
    assert isinstance(outputs, InfectionMap)
    assert not isinstance(outputs, ClassMaps)
