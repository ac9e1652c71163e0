"""From three copies of a slice to the slice between its neighbours: the prediction is kept to begin with."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from infnet_runtime.errors import ModelError
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.slices.preprocess import normalise_planes
from infnet_train.networks import InfNet, Network, NetworkConfig, build_network
from infnet_train.weights.channels import start_from, to_own_plane
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint

pytestmark = pytest.mark.slow  # Inf-Net is built again and again


EQUAL = PreprocessSpec(size=64)
NEIGHBOURS = PreprocessSpec(size=64, channels="neighbours", neighbour_step_mm=5.0)
# Of the stem's first convolution, away from the border; FP32.
SAME = 1e-5


@pytest.fixture(scope="module")
def network() -> InfNet:
    torch.manual_seed(0)
    return InfNet().eval()


def first(network: InfNet, grey: torch.Tensor) -> torch.Tensor:
    """What the first normalisation gives, without the pixels that see beyond the border."""
    with torch.no_grad():
        return network.backbone.stem[:2](torch.from_numpy(normalise_planes(grey.numpy(), EQUAL)))[
            ..., 1:-1, 1:-1
        ]


def test_equal_planes_give_what_they_gave_and_neighbours_do_not_matter_yet(network: InfNet) -> None:
    changed = InfNet().eval()
    changed.load_state_dict(network.state_dict())
    to_own_plane(changed, NEIGHBOURS)
    grey = torch.rand(2, 1, 64, 64)
    expected = first(network, grey)
    torch.testing.assert_close(first(changed, grey), expected, rtol=0, atol=SAME)
    planes = torch.cat([torch.rand(2, 1, 64, 64), grey, torch.rand(2, 1, 64, 64)], dim=1)
    torch.testing.assert_close(first(changed, planes), expected, rtol=0, atol=SAME)
    assert (first(network, planes) - expected).abs().max() > 0.1  # the twin: without the change they do


@pytest.mark.parametrize(
    ("before", "now", "changes"),
    [(EQUAL, NEIGHBOURS, True), (EQUAL, EQUAL, False), (NEIGHBOURS, NEIGHBOURS, False)],
)
def test_only_a_change_of_channels_changes_the_weights(
    network: InfNet, tmp_path: Path, before: PreprocessSpec, now: PreprocessSpec, changes: bool
) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {f"weights/{k}": v for k, v in network.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": asdict(before)}}))
    started = InfNet()
    start_from(started, path, now)
    same = torch.equal(started.backbone.stem[0].weight, network.backbone.stem[0].weight)
    assert same is not changes


def test_a_network_for_which_the_way_is_not_known(network: InfNet, tmp_path: Path) -> None:
    class Other(Network):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 1, 1)

    path, other = tmp_path / "weights.safetensors", Other()
    tensors = {f"weights/{k}": v for k, v in other.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": asdict(EQUAL)}}))
    start_from(other, path, EQUAL)
    with pytest.raises(ModelError, match="holds a Other that saw copies of a slice; how it begins") as caught:
        start_from(other, path, NEIGHBOURS)
    assert caught.value.code == 4006


@pytest.mark.parametrize("name", ["gated-unet", "dense-unet", "deeplabv3+-16"])
def test_other_networks_begin_with_neighbours_where_they_say_what_sees_the_slice(name: str) -> None:
    torch.manual_seed(0)
    model = build_network(NetworkConfig(network=name, prior=True)).eval()
    entry = nn.Sequential(*(model.get_submodule(part) for part in model.entry))
    grey, prior = torch.rand(2, 1, 64, 64), torch.rand(2, 3, 64, 64)

    def seen(planes: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
        given = torch.from_numpy(normalise_planes(planes.numpy(), spec))
        with torch.no_grad():
            return entry(torch.cat([given, prior], dim=1))[..., 4:-4, 4:-4]  # what sees no border

    before = seen(grey, EQUAL)
    to_own_plane(model, NEIGHBOURS)
    planes = torch.cat([torch.rand(2, 1, 64, 64), grey, torch.rand(2, 1, 64, 64)], dim=1)
    torch.testing.assert_close(seen(planes, NEIGHBOURS), before, rtol=0, atol=SAME)
