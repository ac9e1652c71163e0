"""A trained network read from a file: a checkpoint of a run, or the authors' layout."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import ManifestError, PreprocessSpec
from infnet_runtime.plain import PlainError, from_plain
from infnet_train.errors import ConfigError
from infnet_train.networks import Network, NetworkConfig, build_network
from infnet_train.weights.checkpoint import fill_weights, read_checkpoint
from infnet_train.weights.reference import read_reference_network

_PYTORCH_ENDINGS = (".pth", ".pt", ".pkl")


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and what has to travel with it.

    Parameters
    ----------
    network
        In evaluation mode.
    preprocess
        How its training slices were prepared.
    kind
        Name of the network, see :data:`~infnet_train.networks.NETWORKS`.
    config
        The rest that decides what it is.
    prior_sha256
        Hash of the weights (:attr:`weights_sha256`) whose probability was its prior in training; empty where
        it has no prior, or had the truth alone.
    is_recorded
        Whether the file says what its training was given.
    """

    network: Network
    preprocess: PreprocessSpec
    kind: str = NetworkConfig().network
    config: NetworkConfig = field(default_factory=NetworkConfig)
    prior_sha256: str = ""
    is_recorded: bool = False

    @property
    def weights_sha256(self) -> str:
        """Hash over names, types, shapes and values of the weights, whatever file they came from."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            if name.endswith("num_batches_tracked"):  # a counter of training, absent from old files
                continue
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def read_network(path: Path, *, purpose: str) -> TrainedNetwork:
    """Read a checkpoint of ``infnet-train``, or a ``.pth`` or ``.pkl`` file in the authors' layout.

    The authors' file says nothing about preprocessing; it gets the defaults, which are theirs.

    Parameters
    ----------
    purpose
        What the network is read for, for messages: a verb.

    Raises
    ------
    ModelError
        If the file is missing, damaged or of another network, holds no weights, or does not say how its
        slices were prepared.
    """
    if path.suffix.lower() in _PYTORCH_ENDINGS:
        network, config = read_reference_network(path)
        return TrainedNetwork(network, PreprocessSpec(), config.network, config)
    checkpoint = read_checkpoint(path)
    if not checkpoint.group("weights"):
        raise ModelError(
            f"{path} holds no weights to {purpose}, only a run to resume; give weights.safetensors or "
            "best.safetensors of the run",
            code=4101,
        )
    config = _architecture(checkpoint.state, path)
    network = build_network(config).eval()
    fill_weights(network, checkpoint, path)
    return TrainedNetwork(
        network,
        _preprocess(checkpoint.state, path, purpose),
        config.network,
        config,
        checkpoint.state.get("how", {}).get("prior", ""),
        "how" in checkpoint.state,
    )


def _architecture(state: dict[str, Any], path: Path) -> NetworkConfig:
    """Which network it is; older checkpoints do not say, and are the default."""
    keys = {field.name for field in dataclasses.fields(NetworkConfig)}
    saved = {key: value for key, value in state.get("config", {}).items() if key in keys}
    try:
        return from_plain(NetworkConfig, saved, str(path))
    except (PlainError, ConfigError) as error:
        raise ModelError(
            f"{path} holds a network that this version does not have ({error.args[0]}); use the version of "
            "infnet that trained it",
            code=4003,
        ) from error


def _preprocess(state: dict[str, Any], path: Path, purpose: str) -> PreprocessSpec:
    try:
        return from_plain(PreprocessSpec, state["config"]["preprocess"], "preprocess", keys="unchecked")
    except (KeyError, TypeError, PlainError, ManifestError) as error:
        raise ModelError(
            f"{path} does not say how its training slices were prepared ({type(error).__name__}: {error}); "
            f"{purpose} it with the version of infnet that trained it",
            code=4102,
        ) from error
