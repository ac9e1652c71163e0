"""Losses of a network that tells ground glass from consolidation.

``softmax`` is the sound one: cross entropy over background, ground glass and consolidation. ``as_released``
is the multi-class training of the authors' code as it runs, mistakes included; the paper says nothing of it.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ClassLoss = Literal["softmax", "as_released"]
ClassWeights = tuple[float, float, float]

# Labels of a pixel, as in ``data.classes``; below _UNKNOWN they are the channels of the network.
_UNKNOWN = 3
_IGNORED = 255
_SMOOTH = 1.0

# In the released masks 38 is ground glass and 75 consolidation.
_GROUND_GLASS_GREY, _CONSOLIDATION_GREY = 38, 75
_RELEASED_ORDER = (2, 0, 1)  # the channels of the released code that are our background and classes


def class_loss(
    logits: Tensor, labels: Tensor, *, weights: ClassWeights, dice: float, keep: Tensor | None = None
) -> Tensor:
    """Cross entropy of each slice over its pixels, and of the soft Dice a share; the mean over the slices.

    Where the class of an infection is not known, any of the classes is right: ``-log(sum of them)``.

    Parameters
    ----------
    logits : (n, 3, h, w)
        Of background, ground glass and consolidation.
    labels : (n, 1, h, w)
        0, 1 and 2 as the channels, 3 infection of unknown class, 255 counts nothing.
    weights
        Of the pixels of each class; one of unknown class has the mean of both classes' weights.
    dice
        Weight of the soft Dice of both classes beside the cross entropy; 0 leaves it out.
    keep : (n, 1, h, w), values in 0..1
        How much of each pixel counts; absent where all do.

    Returns
    -------
    One number; 0, with a graph, where no pixel counts

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    """
    _check_shapes(logits, labels)
    log_probability = functional.log_softmax(logits, dim=1)
    infected = torch.logsumexp(log_probability[:, 1:], dim=1, keepdim=True)
    counted = (labels != _IGNORED).to(logits.dtype)
    if keep is not None:
        counted = counted * keep
    index = torch.where(labels == _IGNORED, 0, labels).long()
    said = torch.cat([log_probability, infected], dim=1).gather(1, index)
    of_label = logits.new_tensor([*weights, (weights[1] + weights[2]) / 2])[index]
    image = (1, 2, 3)
    pixels = counted.sum(image).clamp_min(_SMOOTH)
    loss = -((said * of_label * counted).sum(image) / pixels).mean()
    if dice:
        known = counted * (labels != _UNKNOWN)
        loss = loss + dice * _soft_dice_loss(log_probability[:, 1:].exp(), labels, known)
    return loss


def released_class_loss(logits: Tensor, codes: Tensor, *, keep: Tensor | None = None) -> Tensor:
    """BCE of a sigmoid for each channel against :func:`released_targets`, the mean over pixels and channels.

    Parameters
    ----------
    logits : (n, 3, h, w)
        Of background, ground glass and consolidation.
    codes : (n, 1, h, w)
        Grey of the released masks, resized bilinearly.
    keep : (n, 1, h, w), values in 0..1
        As of :func:`class_loss`.

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    """
    _check_shapes(logits, codes)
    pixel = functional.binary_cross_entropy_with_logits(logits, released_targets(codes), reduction="none")
    if keep is None:
        return pixel.mean()
    image = (1, 2, 3)
    pixels = (keep.sum(image) * pixel.shape[1]).clamp_min(_SMOOTH)
    return ((pixel * keep).sum(image) / pixels).mean()


def released_targets(codes: Tensor) -> Tensor:
    """What the released code asks of each channel, with the channels in our order.

    It marks element ``3 * pixel + value - 1`` of a slice, after 38 has become 1 and 75 has become 2. So
    ground glass and consolidation get the first two channels of their pixel and background the third of the
    pixel *before*; the values that a bilinear resize leaves between the codes mark pixels further on. About
    1.7 % of the pixels have no class then and 1.1 % more than one.

    Parameters
    ----------
    codes : (n, 1, h, w)
        Grey of the released masks, resized bilinearly.

    Returns
    -------
    (n, 3, h, w), 0 or 1: background, ground glass, consolidation
    """
    n, _, height, width = codes.shape
    values = codes.round().long().flatten(1)  # (n, pixels)
    values = torch.where(values == _GROUND_GLASS_GREY, 1, values)
    values = torch.where(values == _CONSOLIDATION_GREY, 2, values)
    elements = 3 * values.shape[1]
    places = 3 * torch.arange(values.shape[1], device=codes.device) + values - 1
    # The first pixel's background is the last element, as a negative index is. The released code stops at
    # a place beyond the end; it is left out here, in an element more that is thrown away.
    places = torch.where(places < 0, elements - 1, places).clamp_max(elements)
    marked = torch.zeros(n, elements + 1, dtype=torch.float32, device=codes.device)
    marked.scatter_(1, places, 1.0)
    channels = marked[:, :elements].reshape(n, height, width, 3)
    return channels[..., list(_RELEASED_ORDER)].permute(0, 3, 1, 2).contiguous()


def _soft_dice_loss(probability: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """1 - soft Dice, the mean over both classes and the slices.

    Parameters
    ----------
    probability : (n, 2, h, w)
    labels, known : (n, 1, h, w)
        Classes, and how much of a pixel counts.
    """
    truth = torch.cat([labels == 1, labels == 2], dim=1) * known
    found = probability * known
    both = (found * truth).sum((2, 3))
    return 1 - ((2 * both + _SMOOTH) / (found.sum((2, 3)) + truth.sum((2, 3)) + _SMOOTH)).mean()


def _check_shapes(logits: Tensor, labels: Tensor) -> None:
    n, _, height, width = logits.shape
    if logits.shape[1] != _UNKNOWN or labels.shape != (n, 1, height, width):
        raise ValueError(
            f"logits are {tuple(logits.shape)}, the class labels {tuple(labels.shape)}; expected "
            "(n, 3, h, w) of background, ground glass and consolidation, and (n, 1, h, w)"
        )
