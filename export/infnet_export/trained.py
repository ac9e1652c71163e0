"""A trained network read from a checkpoint, ready to export."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infnet_runtime.errors import ModelError
from infnet_runtime.manifest import ManifestError, PreprocessSpec
from infnet_train.checkpoint import read_checkpoint
from infnet_train.loop import load_weights
from infnet_train.model import ALL_PARTS, InfNet
from infnet_train.weights import load_reference_weights, read_reference_state

_PYTORCH_ENDINGS = (".pth", ".pt")


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and what has to travel with it.

    Parameters
    ----------
    network
        In evaluation mode.
    preprocess
        How its training slices were prepared.
    """

    network: InfNet
    preprocess: PreprocessSpec

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


def read_trained(path: Path) -> TrainedNetwork:
    """Read a checkpoint of ``infnet-train``, or a ``.pth`` file in the authors' layout.

    The authors' file says nothing about preprocessing; it gets the defaults, which are theirs.

    Raises
    ------
    ModelError
        If the file is missing, damaged, of another network or one without all parts, has no weights to
        export or some that are not finite, or does not say how its slices were prepared.
    """
    network = InfNet().eval()
    if path.suffix.lower() in _PYTORCH_ENDINGS:
        load_reference_weights(network, read_reference_state(path), source=str(path))
        preprocess = PreprocessSpec()
    else:
        checkpoint = read_checkpoint(path)
        if not checkpoint.group("weights"):
            raise ModelError(
                f"{path} holds no weights to export, only a run to resume; give weights.safetensors or "
                "best.safetensors of the run",
                code=4101,
            )
        _refuse_ablated(checkpoint.state, path)
        preprocess = _preprocess(load_weights(network, path).state, path)
    _refuse_non_finite(network, path)
    return TrainedNetwork(network, preprocess)


def _preprocess(state: dict[str, Any], path: Path) -> PreprocessSpec:
    try:
        saved = state["config"]["preprocess"]
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
        return PreprocessSpec(**plain)
    except (KeyError, TypeError, AttributeError, ManifestError) as error:
        raise ModelError(
            f"{path} does not say how its training slices were prepared ({type(error).__name__}: {error}); "
            "export with the version of infnet that trained it",
            code=4102,
        ) from error


def _refuse_ablated(state: dict[str, Any], path: Path) -> None:
    parts = state.get("config", {}).get("parts", ALL_PARTS)  # older checkpoints do not say: all
    missing = [part for part in ALL_PARTS if part not in parts]
    if missing:
        raise ModelError(
            f"{path} holds an ablated network, without {', '.join(missing)}; only the full network can be "
            "exported: train with all parts",
            code=4104,
        )


def _refuse_non_finite(network: InfNet, path: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(
            f"{path} has weights that are not finite in {len(bad)} entries, e.g. {bad[0]}; the training "
            "diverged, take an earlier checkpoint",
            code=4103,
        )
