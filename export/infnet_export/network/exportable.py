"""How a trained network is exported: as it is, or by what ``EXPORTERS`` knows better of it."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from infnet_export.network.class_output import WITH_CLASSES
from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.exporter import inf_net_classes_exporter, inf_net_exporter
from infnet_export.network.two_step import TrainedTwoStep, two_step, two_step_exporter
from infnet_runtime.errors import ModelError
from infnet_runtime.plain import to_plain
from infnet_train.assess.predict import tells_classes
from infnet_train.networks import Network
from infnet_train.weights.trained import TrainedNetwork, read_network

logger = logging.getLogger(__name__)

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
    trained = _read(path)
    if trained.config.prior:
        raise ModelError(
            f"{path} holds a {trained.kind} that is given the infection beside the slice, and cannot run "
            f"alone; export both as one: infnet-export INFECTION.safetensors --classes {path}",
            code=4110,
        )
    return trained


def read_two_step(infection: Path, classes: Path) -> TrainedTwoStep:
    """Read a network that finds the infection and one that tells its classes apart, as one network.

    Raises
    ------
    ModelError
        If one of them cannot be read, the first needs a prior, the second does not tell classes apart, or
        their slices were prepared in different ways.
    """
    first, second = read_trained(infection), _read(classes)
    if not tells_classes(second.network, second.config.in_channels, "cpu"):
        raise ModelError(
            f"{classes} holds a {second.kind} that finds the infection and does not tell its classes apart; "
            'expected one that was trained with labels = "classes"',
            code=4111,
        )
    ours, theirs = to_plain(first.preprocess), to_plain(second.preprocess)
    other = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if other:
        raise ModelError(
            f"the slices of {classes} were prepared otherwise than those of {infection}: {', '.join(other)} "
            f"{[theirs.get(key) for key in other]} and {[ours.get(key) for key in other]}; one graph takes "
            "one slice, train both on the same",
            code=4112,
        )
    if second.prior_sha256 and second.prior_sha256 != first.weights_sha256:
        logger.warning(
            "%s was trained behind the infection network %.12s, and goes behind %.12s here (%s): its classes "
            "may be worse than measured",
            classes,
            second.prior_sha256,
            first.weights_sha256,
            infection,
        )
    return two_step(first, second)


def exporter_of(trained: TrainedNetwork) -> Exporter:
    """How a network is exported."""
    if isinstance(trained, TrainedTwoStep):
        return two_step_exporter(*map(exporter_of, trained.parts))
    if trained.kind in EXPORTERS:
        return EXPORTERS[trained.kind](trained.network)
    return WITH_CLASSES if tells_classes(trained.network, trained.config.in_channels, "cpu") else Exporter()


def _read(path: Path) -> TrainedNetwork:
    trained = read_network(path, purpose="export")
    _refuse_non_finite(trained.network, path)
    return trained


def _refuse_non_finite(network: Network, path: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{path} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
