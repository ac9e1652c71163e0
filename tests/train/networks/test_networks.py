"""Every network of the registry: what it counts, what it says, which slices it takes."""

import pytest
import torch

from infnet_train.networks import NetworkConfig, build_network

PARAMETERS = {"unet": 7_852_545}
"""With one map and three channels; the sources are in docs/networks.md."""
NAMES = sorted(PARAMETERS)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_counted_as_documented(name: str) -> None:
    network = build_network(NetworkConfig(network=name))
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", ["infection", "classes"])
def test_any_multiple_of_32_is_taken_with_a_prior_or_without(name: str, labels: str) -> None:
    for prior in (False, True):
        config = NetworkConfig(network=name, labels=labels, prior=prior)  # type: ignore[arg-type]
        network = build_network(config).eval()
        with torch.no_grad():
            outputs = network(torch.rand(1, config.in_channels, 32, 96))
        assert outputs.prediction.shape == (1, 1, 32, 96)
        if labels == "classes":
            assert outputs.classes is not None
            assert outputs.classes.shape == (1, 3, 32, 96)
        else:
            assert outputs.classes is None
            assert outputs.infection_maps


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"slices are 40 x 64, expected multiples of 32: resize them"):
        build_network(NetworkConfig(network=name))(torch.rand(1, 3, 40, 64))
