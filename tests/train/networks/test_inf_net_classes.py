"""One network for infection and classes."""

from pathlib import Path

import pytest
import torch

from infnet_runtime.model.specs import PreprocessSpec
from infnet_train.networks import InfNet, InfNetClasses, NetworkConfig, build_network
from infnet_train.weights.channels import start_from
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint


@pytest.fixture
def model() -> InfNetClasses:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(network="inf-net-classes"))
    assert isinstance(network, InfNetClasses)
    return network.eval()


def test_it_says_what_inf_net_says_and_the_classes(model: InfNetClasses) -> None:
    alone = InfNet().eval()
    alone.load_state_dict(
        {name: w for name, w in model.state_dict().items() if not name.startswith("class_head.")}
    )
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found, expected = model(x), alone(x)
    assert torch.equal(found.prediction, expected.prediction)
    assert found.infection_maps.keys() == expected.infection_maps.keys()
    assert torch.equal(found.edge, expected.edge)
    assert found.classes.shape == (2, 3, 64, 96)


def test_the_classes_do_not_move_the_infection(model: InfNetClasses) -> None:
    model.train()
    made = model(torch.randn(2, 3, 64, 64))
    made.classes.square().mean().backward()
    assert model.class_head.out.weight.grad is not None
    assert model.backbone.stem[0].weight.grad is not None  # shared features learn from both
    assert model.reverse_attention3.out.conv.weight.grad is None


def test_parameters_are_those_of_the_docstring(model: InfNetClasses) -> None:
    assert sum(p.numel() for p in model.parameters()) == 31_234_260


def test_it_begins_with_the_weights_of_inf_net(model: InfNetClasses, tmp_path: Path) -> None:
    torch.manual_seed(1)
    before, path = InfNet(), tmp_path / "weights.safetensors"
    write_checkpoint(path, Checkpoint({f"weights/{n}": w for n, w in before.state_dict().items()}, {}))
    head = model.class_head.out.weight.detach().clone()
    start_from(model, path, PreprocessSpec())
    assert torch.equal(model.backbone.stem[0].weight, before.backbone.stem[0].weight)
    assert torch.equal(model.class_head.out.weight, head)
