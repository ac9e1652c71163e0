"""A network that saw three copies of a slice, made ready for the slice between its neighbours.

The first convolution has learned its three kernels on equal channels, where only their sum matters. Given
three different planes they would mix what nobody taught them to: on a validation volume Dice falls from
0.77 to 0.60. So the slice in the middle gets the whole kernel and the neighbours nothing to begin with; the
prediction is that of before, and a training finds out what the neighbours are good for.
"""

from pathlib import Path

import torch
from torch import nn

from infnet_runtime.errors import ModelError
from infnet_runtime.model.specs import EQUAL, NEIGHBOURS, PreprocessSpec
from infnet_train.networks import Network
from infnet_train.weights.checkpoint import fill_weights, read_checkpoint

_OWN = 1  # between below and above


def start_from(model: Network, path: Path, spec: PreprocessSpec) -> None:
    """Fill ``model`` with the weights of a checkpoint, made ready for the channels of a training.

    A network that another one has grown to begins with what the other has.

    Parameters
    ----------
    spec
        Of the training that starts.

    Raises
    ------
    ModelError
        If the checkpoint is missing, damaged or of another network, or of one that this is not known of.
    """
    checkpoint = read_checkpoint(path)
    fill_weights(model, checkpoint, path, without=model.begins_without)
    before = checkpoint.state.get("config", {}).get("preprocess", {}).get("channels", EQUAL)
    if spec.channels == NEIGHBOURS and before == EQUAL:
        if not model.entry:
            raise ModelError(
                f"{path} holds a {type(model).__name__} that saw copies of a slice; how it begins with "
                "neighbours is not known, because it does not say where it sees a slice (entry): start from "
                "weights with neighbours, or from none",
                code=4006,
            )
        to_own_plane(model, spec)


@torch.no_grad()
def to_own_plane(model: Network, spec: PreprocessSpec) -> None:
    """Put the kernels of the first convolution onto the channel in the middle, in place.

    Equal channels give what they gave before, but for the zeros beyond the border of the slice: the channels
    are normalised by numbers of their own. The channels of a prior stay as they are.

    Parameters
    ----------
    model
        Of a kind that says its :attr:`~infnet_train.networks.Network.entry`.
    """
    convolution, *norms = (model.get_submodule(name) for name in model.entry)
    assert isinstance(convolution, nn.Conv2d)
    slice_ = convolution.weight[:, : len(spec.mean)]  # a view
    mean, std = (torch.tensor(v).to(slice_) for v in (spec.mean, spec.std))
    on_grey = slice_ / std[:, None, None]  # (out, 3, k, k), kernels on grey 0..1
    constant = -(on_grey.sum(dim=(2, 3)) * mean).sum(dim=1)  # (out,), what the subtracted means give
    slice_.zero_()
    slice_[:, _OWN] = on_grey.sum(dim=1) * std[_OWN]
    now = -slice_[:, _OWN].sum(dim=(1, 2)) * mean[_OWN] / std[_OWN]
    if convolution.bias is not None:
        convolution.bias += constant - now
        return
    (norm,) = norms
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean += now - constant
