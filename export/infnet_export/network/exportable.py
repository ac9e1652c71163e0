"""How a trained network is exported: as it is, or by what ``EXPORTERS`` knows better of it."""

from collections.abc import Callable
from pathlib import Path

import torch

from infnet_export.network.class_output import WITH_CLASSES, tells_classes
from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.exporter import inf_net_classes_exporter, inf_net_exporter
from infnet_runtime.errors import ModelError
from infnet_train.networks import Network
from infnet_train.weights.trained import TrainedNetwork, read_network

EXPORTERS: dict[str, Callable[[Network], Exporter]] = {
    "inf-net": inf_net_exporter,
    "inf-net-classes": inf_net_classes_exporter,
}
"""Networks that say how they are exported, by the names of :data:`infnet_train.networks.NETWORKS`."""


def read_trained(path: Path) -> TrainedNetwork:
    """Read a trained network that can be exported.

    Raises
    ------
    ModelError
        As :func:`~infnet_train.weights.trained.read_network`, or if it needs a prior, or its weights are not
        finite.
    """
    trained = read_network(path, purpose="export")
    if trained.config.prior:
        raise ModelError(
            f"{path} holds a {trained.kind} that is given the infection beside the slice, and cannot run "
            f"alone; export both as one: infnet-export INFECTION.safetensors --classes {path}",
            code=4110,
        )
    _refuse_non_finite(trained.network, path)
    return trained


def exporter_of(trained: TrainedNetwork) -> Exporter:
    """How a network is exported."""
    if trained.kind in EXPORTERS:
        return EXPORTERS[trained.kind](trained.network)
    return WITH_CLASSES if tells_classes(trained.network, trained.config.in_channels) else Exporter()


def _refuse_non_finite(network: Network, path: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{path} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
