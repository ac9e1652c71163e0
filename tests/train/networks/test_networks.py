"""Every network of the registry: what it counts, what it says, which slices it takes, what it refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from infnet_train.errors import ConfigError
from infnet_train.networks import NETWORKS, Network, NetworkConfig, build_network, unet_plus_plus
from infnet_train.networks.registry import Labels

# Parameters and multiply-adds of the convolutions at 352, as docs/networks.md has them.
COUNTS = {
    "unet": (7_852_545, 26_374_701_056),
    "attention-unet": (8_727_213, 31_582_386_176),
    "gated-unet": (139_316, 448_083_328),
    "dense-unet": (45_082_145, 43_600_826_368),
    "unet++": (9_163_428, 65_211_170_816),
    "deeplabv3+-8": (59_338_913, 122_921_222_144),
    "deeplabv3+-16": (59_338_913, 41_846_374_400),
    "fcn8s": (14_724_419, 37_897_587_200),
    "multi-class-unet": (17_269_251, 75_817_353_216),
}
NAMES = list(COUNTS)
# Table II of the paper: parameters in millions, multiply-adds in thousands of millions.
PAPER = {"attention-unet": (8.727, 31.730), "dense-unet": (45.082, 43.785), "unet++": (9.163, 65.938)}
HALF_A_DIGIT = 0.0005
INTERPOLATED = 11
"""Operations that THOP of 2020 counts for each value of a bilinear enlargement."""


def as_published(name: str) -> NetworkConfig:
    """The released one takes a prior and tells classes apart."""
    if name == "multi-class-unet":
        return NetworkConfig(network=name, labels="classes", prior=True)
    return NetworkConfig(network=name)


@contextmanager
def counted(network: Network) -> Iterator[dict[str, int]]:
    """Multiply-adds of the convolutions, what their biases add, values that are normalised."""
    found = {"convolutions": 0, "biases": 0, "normalised": 0}

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d):
            found["normalised"] += output.numel()
            return
        assert isinstance(module, nn.Conv2d)
        found["convolutions"] += output.numel() * module.weight[0].numel()
        found["biases"] += output.numel() if module.bias is not None else 0

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(count)
    yield found


def on_no_device(name: str) -> tuple[int, dict[str, int]]:
    """Counts of a network at 352, without any computation."""
    config = as_published(name)
    with torch.device("meta"):
        network = build_network(config).eval()
        with counted(network) as found:
            network(torch.zeros(1, config.in_channels, 352, 352))
    return sum(p.numel() for p in network.parameters()), found


def test_all_of_them_are_here() -> None:
    assert {*NAMES, "inf-net", "inf-net-classes"} == set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_counts(name: str) -> None:
    parameters, found = on_no_device(name)
    assert (parameters, found["convolutions"]) == COUNTS[name]


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_counts_of_the_paper(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enlarged = []

    def twice(x: Tensor) -> Tensor:
        enlarged.append(4 * x.numel())
        return nn.functional.interpolate(x, scale_factor=2.0)

    monkeypatch.setattr(
        unet_plus_plus, "twice", twice
    )  # the others enlarge by repeating, which costs nothing
    parameters, found = on_no_device(name)
    total = found["convolutions"] + found["biases"] + 2 * found["normalised"] + INTERPOLATED * sum(enlarged)
    millions, giga = PAPER[name]
    assert parameters / 1e6 == pytest.approx(millions, abs=HALF_A_DIGIT)
    assert total / 1e9 == pytest.approx(giga, abs=HALF_A_DIGIT)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says(name: str) -> None:
    choices: list[tuple[Labels, bool]] = [("infection", False), ("classes", True), ("infection", True)]
    for labels, prior in choices:
        config = NetworkConfig(network=name, labels=labels, prior=prior)
        with torch.device("meta"):
            network = build_network(config).eval()
            outputs = network(torch.zeros(2, config.in_channels, 32, 96)).to_float()
        assert outputs.prediction.shape == (2, 1, 32, 96)
        assert all(map_.shape == (2, 1, 32, 96) for map_ in outputs.infection_maps.values())
        if labels == "classes":
            assert outputs.classes is not None
            assert outputs.classes.shape == (2, 3, 32, 96)
        else:
            assert outputs.classes is None
            assert outputs.infection_maps


def test_nested_maps_end_with_the_prediction() -> None:
    network = build_network(NetworkConfig(network="unet++")).eval()
    with torch.no_grad():
        outputs = network(torch.rand(1, 3, 32, 32))
    assert list(outputs.infection_maps) == ["depth1", "depth2", "depth3", "depth4"]
    assert outputs.infection_maps["depth4"] is outputs.prediction


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_are_refused(name: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"slices are 40 x 64, expected multiples of 32"),
    ):
        build_network(NetworkConfig(network=name))(torch.zeros(1, 3, 40, 64))


@pytest.mark.parametrize("name", NAMES)
def test_one_slice_alone_can_be_learned_from(name: str) -> None:
    """At 64, where the deepest maps have several pixels; at 32 the batches see to it."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(network=name)).train()
    maps = network(torch.rand(1, 3, 64, 64)).infection_maps.values()
    torch.stack([map_.sum() for map_ in maps]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_what_a_network_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="parts is edge_attention, and 'unet' has none, only inf") as caught:
        NetworkConfig(network="unet", parts=("edge_attention",))
    assert caught.value.code == 3161
    with pytest.raises(ConfigError, match="labels is 'classes', and 'inf-net' knows infection al") as caught:
        NetworkConfig(labels="classes")
    assert caught.value.code == 3162
    with pytest.raises(ConfigError, match="'inf-net' takes no prior: it finds the infection its") as caught:
        NetworkConfig(prior=True)
    assert caught.value.code == 3163
