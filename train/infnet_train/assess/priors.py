"""The prior of a network that is given one: the probability of another network, or the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infnet_runtime.arrays import BoolArray
from infnet_runtime.errors import ModelError
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.plain import to_plain
from infnet_train.assess.predict import logits_of
from infnet_train.networks import Network
from infnet_train.networks.guided import beside
from infnet_train.weights.trained import TrainedNetwork, read_network

_ANY_SIZE = "size"  # the one key in which both networks may differ: batches have several


@dataclass(frozen=True)
class Prior:
    """Where the prior comes from.

    Parameters
    ----------
    network
        Finds the infection; in evaluation mode, on the device of the slices. None: the truth alone.
    spec
        How the slices were prepared.
    weights_sha256
        Of ``network``; empty without it.
    """

    network: Network | None
    spec: PreprocessSpec
    weights_sha256: str = ""

    def beside(
        self, images: Tensor, truth: Tensor, *, by_truth: BoolArray | None = None, bf16: bool = False
    ) -> Tensor:
        """Slices with their prior.

        Parameters
        ----------
        images : (n, 3, h, w)
        truth : (n, 1, h, w), 0..1
            On the device of ``images``.
        by_truth : (n,)
            Which slices get the truth in place of the network's probability; none where it is absent, all
            without a network.

        Returns
        -------
        (n, 6, h, w)
        """
        prior = truth
        asked = np.ones(len(images), np.bool_) if by_truth is None else ~by_truth
        if self.network is not None and asked.any():
            chosen = torch.from_numpy(np.flatnonzero(asked)).to(images.device)
            slices = images if asked.all() else images[chosen].contiguous(memory_format=torch.channels_last)
            probability = torch.sigmoid(logits_of(self.network, slices, bf16=bf16))[:, None]
            prior = truth.clone().index_copy_(0, chosen, probability.to(truth.dtype))
        joined = beside(images, prior, self.spec.mean, self.spec.std)
        return joined.contiguous(memory_format=torch.channels_last)


def read_prior(path: Path, spec: PreprocessSpec, device: str) -> Prior:
    """The infection network of a checkpoint, frozen on a device.

    Parameters
    ----------
    spec
        Of the slices that it is to be given.

    Raises
    ------
    ModelError
        If the file is refused, the network needs a prior itself, or it saw slices prepared otherwise.
    """
    trained = read_network(path, purpose="take priors from")
    refuse_as_prior(trained, spec, path)
    network = trained.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Prior(network.eval().requires_grad_(False), spec, trained.weights_sha256)


def refuse_as_prior(trained: TrainedNetwork, spec: PreprocessSpec, path: Path) -> None:
    """Refuse a network whose probability cannot be the prior of slices prepared as ``spec`` says.

    Raises
    ------
    ModelError
        If it needs a prior itself, or saw slices prepared otherwise.
    """
    refuse_guided(trained, path)
    refuse_other_slices(trained.preprocess, spec, path)


def refuse_guided(trained: TrainedNetwork, path: Path) -> None:
    """Refuse a network that is given the infection where one is wanted that finds it.

    Raises
    ------
    ModelError
        If it needs a prior.
    """
    if trained.config.prior:
        raise ModelError(
            f"{path} holds a {trained.config.network} that needs a prior itself; expected a network that "
            "finds the infection from the slice alone",
            code=4140,
        )


def refuse_other_slices(found: PreprocessSpec, spec: PreprocessSpec, path: Path) -> None:
    """Refuse a network that saw slices prepared otherwise than as ``spec`` says, but for their size.

    Raises
    ------
    ModelError
        With the keys that differ.
    """
    theirs, ours = to_plain(found), to_plain(spec)
    other = [key for key in {**ours, **theirs} if key != _ANY_SIZE and ours.get(key) != theirs.get(key)]
    if other:
        raise ModelError(
            f"the priors of {path} belong to slices prepared otherwise: {', '.join(other)} "
            f"{'are' if len(other) > 1 else 'is'} {[theirs.get(key) for key in other]} there and "
            f"{[ours.get(key) for key in other]} here; give a network whose slices were prepared as here",
            code=4141,
        )
