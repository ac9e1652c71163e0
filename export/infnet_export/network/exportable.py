"""Which trained networks can be exported; another kind is a folder here and a line in ``EXPORTERS``."""

from pathlib import Path

import torch

from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.exporter import INF_NET
from infnet_runtime.errors import ModelError
from infnet_train.networks import Network
from infnet_train.weights.trained import TrainedNetwork, read_network

EXPORTERS: dict[str, Exporter] = {"inf-net": INF_NET}
"""By the names of :data:`infnet_train.networks.NETWORKS`."""


def read_trained(path: Path) -> TrainedNetwork:
    """Read a trained network that can be exported.

    Raises
    ------
    ModelError
        As :func:`~infnet_train.weights.trained.read_network`, or if the export does not know the network,
        refuses it, or its weights are not finite.
    """
    trained = read_network(path, purpose="export")
    reason = exporter_of(trained, str(path)).refusal(trained.network)
    if reason:
        raise ModelError(f"{path} holds {reason}", code=4104)
    _refuse_non_finite(trained.network, path)
    return trained


def exporter_of(trained: TrainedNetwork, source: str = "this checkpoint") -> Exporter:
    """What the export knows of a network.

    Parameters
    ----------
    source
        Where the network comes from, for messages.

    Raises
    ------
    ModelError
        If it knows nothing.
    """
    if trained.kind not in EXPORTERS:
        raise ModelError(
            f"{source} holds the network '{trained.kind}'; only {', '.join(sorted(EXPORTERS))} can be "
            "exported",
            code=4104,
        )
    return EXPORTERS[trained.kind]


def _refuse_non_finite(network: Network, path: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{path} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
