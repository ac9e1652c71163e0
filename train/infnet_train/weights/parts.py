"""Weights in several small files in half precision, for a way that takes no large ones, and joined again.

Convolution kernels become FP16; what is small (biases, normalisations) stays FP32. ``parts.json`` holds the
names and hashes of the parts and the state of the checkpoint.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import atomic_write, prepare_folder
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

INDEX = "parts.json"
SCHEMA = "infnet.parts/1"
PART_BYTES = 15 * 2**20
"""Of the tensors of a part; its header comes on top."""

_SMALL = 64**2  # weights of a tensor that stays in single precision


def split_weights(path: Path, folder: Path, *, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write the weights of a checkpoint as parts, and gives all files written.

    Parameters
    ----------
    path
        ``weights.safetensors`` of a run.

    Raises
    ------
    ModelError
        If the checkpoint is missing or damaged, or a weight is too large for half precision.
    OutputError
        If a file cannot be written.
    """
    checkpoint = read_checkpoint(path)
    parts: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in sorted(checkpoint.tensors.items()):
        small = _halved(name, tensor, path)
        size = small.numel() * small.element_size()
        if used + size > part_bytes and parts[-1]:
            parts.append({})
            used = 0
        parts[-1][name] = small
        used += size
    written, entries = [], []
    for number, tensors in enumerate(parts):
        content = save(tensors)
        target = prepare_folder(folder) / f"weights.{number:02d}.safetensors"
        with atomic_write(target) as file:
            file.write(content)
        written.append(target)
        entries.append({"name": target.name, "sha256": hashlib.sha256(content).hexdigest()})
    index = {"schema": SCHEMA, "parts": entries, "state": checkpoint.state}
    with atomic_write(folder / INDEX) as file:
        file.write(json.dumps(index).encode())
    return [*written, folder / INDEX]


def join_weights(folder: Path, path: Path) -> None:
    """Put the parts of :func:`split_weights` together as a checkpoint in single precision.

    Raises
    ------
    ModelError
        If a part is missing or not the one that was written.
    OutputError
        If the checkpoint cannot be written.
    """
    index = _read_index(folder / INDEX)
    tensors: dict[str, Tensor] = {}
    for entry in index["parts"]:
        part = folder / entry["name"]
        try:
            content = part.read_bytes()
        except OSError as error:
            raise ModelError(
                f"cannot read {part} ({error.strerror or error}); get all parts", code=4001
            ) from error
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ModelError(
                f"{part} is not the part that was written: another hash; get it again", code=4002
            )
        try:
            loaded = load(content)
        except SafetensorError as error:  # a hash that fits, so the writer was at fault
            raise ModelError(f"{part} is no safetensors file ({error})", code=4002) from error
        tensors |= {name: t.float() if t.is_floating_point() else t for name, t in loaded.items()}
    write_checkpoint(path, Checkpoint(tensors, index["state"]))


def _halved(name: str, tensor: Tensor, path: Path) -> Tensor:
    if not tensor.is_floating_point() or tensor.numel() <= _SMALL:
        return tensor.contiguous()
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise ModelError(
            f"{path}: {name} has weights too large for half precision, or not finite; lower learning_rate",
            code=4103,
        )
    return half.contiguous()


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read {path} ({error}); expected the folder of some parts", code=4001
        ) from error
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        raise ModelError(f"{path} is not the list of the parts of some weights", code=4002)
    return index
