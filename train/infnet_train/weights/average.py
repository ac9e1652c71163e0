"""The mean of two trained networks of one kind, weight by weight.

A network that was trained on from another one and that other one lie near enough for their mean to be a
network too; on pictures unlike those of the second training it is often better than both (Wortsman et al.,
*Robust fine-tuning of zero-shot models*, CVPR 2022).
"""

import hashlib
from pathlib import Path

import torch

from infnet_runtime.errors import ModelError
from infnet_train.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def average_weights(first: Path, second: Path, out: Path, *, share: float = 0.5) -> None:
    """Write the mean of two checkpoints. It says of itself what the first says, and of what it is the mean.

    Parameters
    ----------
    first, second
        Checkpoints of one network. Parts that only the first has, such as a head, are kept as they are.
    share
        Of the first, above 0 and below 1. Counters are those of the first.

    Raises
    ------
    ModelError
        If a file is no checkpoint, the share cannot be, or the networks are not of one kind.
    OutputError
        If the file cannot be written.
    """
    if not 0 < share < 1:
        raise ModelError(f"a share of {share:g} for {first}; expected one above 0 and below 1", code=4144)
    one, other = read_checkpoint(first), read_checkpoint(second)
    mean = one.group("weights")
    added = other.group("weights")
    strange = [name for name, tensor in added.items() if name not in mean or mean[name].shape != tensor.shape]
    if strange or not added:
        found = f"{strange[0]} is not in {first} or has another shape" if strange else f"{second} holds none"
        raise ModelError(
            f"the weights of {first} and {second} cannot be averaged: {found}; expected two trainings of one "
            "network, the first of which may have more parts",
            code=4145,
        )
    for name, tensor in added.items():
        if torch.is_floating_point(tensor):
            both = share * mean[name].double() + (1 - share) * tensor.double()
            mean[name] = both.to(mean[name].dtype)
    told = {"share": share, "with": hashlib.sha256(second.read_bytes()).hexdigest()}
    tensors = {f"weights/{name}": tensor for name, tensor in mean.items()}
    write_checkpoint(out, Checkpoint(tensors, {**one.state, "averaged": told}))
