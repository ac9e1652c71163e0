"""Losses of Inf-Net, for any network: weighted IoU plus BCE on its infection maps, BCE on its edge.

That of its classes, where it tells them apart, is in ``class_loss``.

Fan et al., IEEE TMI 2020, section III-E. The paper up-weights hard pixels in both terms. In the released
code the BCE term is *not* weighted: its ``reduce='none'`` argument selects the mean, and the weights cancel
against a scalar. That form is the default here because the published scores belong to it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from infnet_train.errors import ConfigError, check_number
from infnet_train.networks.class_loss import ClassLoss, ClassWeights, class_loss, released_class_loss
from infnet_train.networks.interface import Outputs

BceForm = Literal["as_run", "weighted"]
EdgeLoss = Literal["mean", "sum"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Where the paper and the released code differ; the defaults are the code as it ran.

    Parameters
    ----------
    bce
        ``as_run``: unweighted, as the released code behaves; ``weighted``: as the paper says.
    edge_loss
        BCE of the edge: ``mean`` over the pixels as the released code has it, ``sum`` as the paper says.
    class_loss
        Of a network that tells classes apart. ``softmax``: cross entropy over background, ground glass and
        consolidation; ``as_released``: a sigmoid for each and BCE, on the released code's displaced labels.
    class_weight
        Of the class loss in the sum.
    class_weights
        Of the pixels of background, ground glass and consolidation in ``softmax``.
    class_dice
        Weight of the soft Dice of both classes beside the cross entropy of ``softmax``; 0 leaves it out.
    """

    bce: BceForm = "as_run"
    edge_loss: EdgeLoss = "mean"
    class_loss: ClassLoss = "softmax"
    class_weight: float = 1.0
    class_weights: ClassWeights = (1.0, 1.0, 1.0)
    class_dice: float = 0.0

    def __post_init__(self) -> None:
        check_number("class_weight", self.class_weight, 0)
        check_number("class_dice", self.class_dice, 0, 1)
        for weight in self.class_weights:
            check_number("a number of class_weights", weight, 0)
        if self.class_loss == "as_released" and (self.class_dice or self.class_weights != (1.0, 1.0, 1.0)):
            raise ConfigError(
                f"class_loss is 'as_released', class_weights are {list(self.class_weights)} and class_dice "
                f"is {self.class_dice}; the released loss has neither: leave them out, or take 'softmax'",
                code=3173,
            )


AS_RELEASED = LossConfig()

_NEIGHBOURHOOD = 31
_WEIGHT_GAIN = 5.0
_SMOOTH = 1.0


def pixel_weights(mask: Tensor) -> Tensor:
    """1 + 5 * |mean of the 31 x 31 neighbourhood - mask|, zeros beyond the border counted.

    Parameters
    ----------
    mask : (n, 1, h, w), values in 0..1
    """
    k, pad = _NEIGHBOURHOOD, _NEIGHBOURHOOD // 2
    # Two one-dimensional means equal the square one and cost 62 additions a pixel instead of 961.
    mean = functional.avg_pool2d(mask, (k, 1), stride=1, padding=(pad, 0))
    mean = functional.avg_pool2d(mean, (1, k), stride=1, padding=(0, pad))
    return 1 + _WEIGHT_GAIN * (mean - mask).abs()


def structure_loss_terms(
    logits: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
    bce: BceForm = "as_run",
    keep: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """BCE term and weighted-IoU term, each averaged over the batch.

    Parameters
    ----------
    logits : (n, 1, h, w)
    mask : (n, 1, h, w), values in 0..1
        May be soft.
    weights : (n, 1, h, w)
        ``pixel_weights(mask)``, where the caller has it already.
    bce
        ``as_run``: plain mean, as the released code behaves. ``weighted``: as the paper says.
    keep : (n, 1, h, w), values in 0..1
        How much of each pixel counts; absent where all do, which gives the same bits as before there was a
        choice. The plain mean is then that of each slice, averaged over the slices.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if logits.shape != mask.shape:
        raise ValueError(f"logits are {tuple(logits.shape)}, the mask is {tuple(mask.shape)}")
    if weights is None:
        weights = pixel_weights(mask)
    if keep is not None:
        weights = weights * keep
    image = (1, 2, 3)
    if bce == "as_run" and keep is not None:
        pixel = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        bce_term = _kept_mean(pixel, keep)
    elif bce == "as_run":
        bce_term = functional.binary_cross_entropy_with_logits(logits, mask)
    else:
        pixel = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        bce_term = ((weights * pixel).sum(image) / weights.sum(image).clamp_min(_SMOOTH)).mean()
    probability = torch.sigmoid(logits)
    intersection = (probability * mask * weights).sum(image)
    total = ((probability + mask) * weights).sum(image)
    iou = 1 - (intersection + _SMOOTH) / (total - intersection + _SMOOTH)
    return bce_term, iou.mean()


def total_loss(
    outputs: Outputs,
    mask: Tensor,
    edge: Tensor,
    config: LossConfig = AS_RELEASED,
    *,
    keep: Tensor | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """Edge BCE plus the structure loss of each infection map (S_g, S_5, S_4 and S_3), all with weight 1.

    The class loss comes to them with its own weight, where there are classes. Terms of outputs that a
    network does not have are left out.

    Parameters
    ----------
    mask, edge : (n, 1, h, w), values in 0..1
    config
        ``edge_loss`` is the ``mean`` over pixels and images, or the ``sum`` over the pixels of each image,
        mean over the images.
    keep : (n, 1, h, w), values in 0..1
        How much of each pixel counts, see :func:`structure_loss_terms`. An edge is two pixels wide, so those
        beside an ignored one do not count for it either.
    classes : (n, 1, h, w)
        Class labels, see :func:`~infnet_train.networks.class_loss.class_loss`, or for ``as_released`` the
        grey of the released masks.
    """
    loss = mask.new_zeros(())
    if outputs.edge is not None:
        if keep is None:
            loss = functional.binary_cross_entropy_with_logits(outputs.edge, edge)
        else:
            pixel = functional.binary_cross_entropy_with_logits(outputs.edge, edge, reduction="none")
            loss = _kept_mean(pixel, 1 - functional.max_pool2d(1 - keep, 3, stride=1, padding=1))
        if config.edge_loss == "sum":
            loss = loss * edge[0].numel()
    weights = pixel_weights(mask)
    for logits in outputs.infection_maps.values():
        bce_term, iou_term = structure_loss_terms(logits, mask, weights=weights, bce=config.bce, keep=keep)
        loss = loss + bce_term + iou_term
    if outputs.classes is not None and classes is not None:
        loss = loss + config.class_weight * loss_of_classes(outputs.classes, classes, config, keep=keep)
    return loss


def loss_of_classes(
    logits: Tensor, labels: Tensor, config: LossConfig, *, keep: Tensor | None = None
) -> Tensor:
    """The class loss that a configuration asks for, without its weight in the sum."""
    if config.class_loss == "as_released":
        return released_class_loss(logits, labels, keep=keep)
    return class_loss(logits, labels, weights=config.class_weights, dice=config.class_dice, keep=keep)


def _kept_mean(pixel: Tensor, keep: Tensor) -> Tensor:
    """Mean of what counts in each slice, averaged over the slices."""
    image = (1, 2, 3)
    return ((pixel * keep).sum(image) / keep.sum(image).clamp_min(_SMOOTH)).mean()
