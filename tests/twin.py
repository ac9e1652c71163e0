"""The small network with random weights that the tests of the export share."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from infnet_export.make.card import ModelCard
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.networks import InfNet
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint
from infnet_train.weights.trained import TrainedNetwork

SIZE = 96
CARD = ModelCard(name="twin", version="1.2.3", licence="CC0", training_data="none, random", threshold=0.4)
DAMPING = 0.1


def random_network() -> TrainedNetwork:
    """Random weights with the statistics of smooth slices: without them the logits reach 1e7."""
    torch.manual_seed(0)
    network, spec = InfNet(), PreprocessSpec(size=SIZE)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of all calls so far
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    with torch.no_grad():
        network.train()(torch.from_numpy(phantom_input(spec)))
    _damp(network, DAMPING)
    return TrainedNetwork(network.eval(), spec)


def _damp(network: InfNet, factor: float) -> None:
    """Make the logits smaller: random weights amplify a rounding a hundred times more than trained ones."""
    levels = (network.reverse_attention5, network.reverse_attention4, network.reverse_attention3)
    for module in (network.partial_decoder.conv5, *(level.out.bn for level in levels)):
        for parameter in module.parameters():
            parameter.data.mul_(factor)


def write_weights(trained: TrainedNetwork, path: Path) -> Path:
    """The network as a training leaves it."""
    tensors = {f"weights/{k}": v for k, v in trained.network.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, {"config": {"preprocess": asdict(trained.preprocess)}}))
    return path
