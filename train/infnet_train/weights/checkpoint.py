"""Checkpoints: one safetensors file, tensors in the body and everything else as JSON in its header.

Written to a temporary file and renamed, so that a file with its final name is whole. No pickle.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import atomic_write

FORMAT = "infnet.checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """State of a run.

    Parameters
    ----------
    tensors
        ``weights/...`` to export, and for a resumable checkpoint ``model/...`` and ``optimiser/...``.
    state
        Plain values: configuration, position, history.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def group(self, name: str) -> dict[str, Tensor]:
        """Tensors below ``name/``, without that prefix."""
        prefix = f"{name}/"
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises
    ------
    OutputError
        If the file cannot be written; the one from before stays.
    """
    metadata = {"format": FORMAT, "state": json.dumps(checkpoint.state)}
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    payload = save(tensors, metadata)
    with atomic_write(path) as file:
        file.write(payload)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    ModelError
        If the file is missing, damaged or no checkpoint of this program.
    """
    return _read(path, tensors=True)


def read_state(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, without its tensors.

    Raises
    ------
    ModelError
        As of :func:`read_checkpoint`.
    """
    return _read(path, tensors=False).state


def _read(path: Path, *, tensors: bool) -> Checkpoint:
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}", code=4001)
    try:
        with safe_open(os.fspath(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            wanted = file.keys() if tensors else ()
            read = {name: file.get_tensor(name) for name in wanted}
    except SafetensorError as error:
        raise ModelError(f"{path} is no safetensors file or is damaged ({error})", code=4002) from error
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{path} is marked '{metadata.get('format')}', expected '{FORMAT}': no infnet checkpoint",
            code=4002,
        )
    return Checkpoint(read, json.loads(metadata["state"]))


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` with the weights of a checkpoint.

    Raises
    ------
    ModelError
        If the checkpoint is missing, damaged or of another network.
    """
    fill_weights(model, read_checkpoint(path), path)


def fill_weights(
    model: nn.Module, checkpoint: Checkpoint, path: Path, *, without: tuple[str, ...] = ()
) -> None:
    """:func:`load_weights` for a checkpoint that has been read already; ``path`` is for messages.

    Parameters
    ----------
    without
        Parts of the network that keep the weights they have where the checkpoint has nothing of them.

    Raises
    ------
    ModelError
        If the weights are those of another network.
    """
    try:
        weights = checkpoint.group("weights")
        for part in without:
            if not any(name.startswith(f"{part}.") for name in weights):
                weights |= {n: w for n, w in model.state_dict().items() if n.startswith(f"{part}.")}
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{path} holds weights of another network: {error}", code=4003) from error


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State tensors of an optimiser as ``<parameter>/<name>``."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of :func:`flatten_optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
