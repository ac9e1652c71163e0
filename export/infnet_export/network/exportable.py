"""Which trained networks can be exported."""

from pathlib import Path

import torch

from infnet_runtime.errors import ModelError
from infnet_train.networks import ALL_PARTS, InfNet, Network
from infnet_train.weights.trained import TrainedNetwork, read_network


def read_trained(path: Path) -> TrainedNetwork:
    """Read a trained network that can be exported.

    Raises
    ------
    ModelError
        As :func:`~infnet_train.weights.trained.read_network`, or if the network is not Inf-Net, lacks a
        part or has weights that are not finite.
    """
    trained = read_network(path, purpose="export")
    _refuse_ablated(inf_net_of(trained), path)
    _refuse_non_finite(trained.network, path)
    return trained


def inf_net_of(trained: TrainedNetwork) -> InfNet:
    """The network, if it is the one that can be exported.

    Raises
    ------
    ModelError
        If it is another.
    """
    if not isinstance(trained.network, InfNet):
        name = type(trained.network).__name__
        raise ModelError(f"the network is a {name}; only Inf-Net can be exported", code=4104)
    return trained.network


def _refuse_ablated(network: InfNet, path: Path) -> None:
    missing = [part for part in ALL_PARTS if part not in network.parts]
    if missing:
        raise ModelError(
            f"{path} holds an ablated network, without {', '.join(missing)}; only the full network can be "
            "exported: train with all parts",
            code=4104,
        )


def _refuse_non_finite(network: Network, path: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{path} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
