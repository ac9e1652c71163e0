"""The priors of a training step: which slices get the truth in place of a network's probability."""

from pathlib import Path

import numpy as np
from torch import Tensor

from infnet_runtime.arrays import BoolArray
from infnet_train.assess.priors import Prior, read_prior
from infnet_train.config.schema import TrainConfig
from infnet_train.machine.ranks import Ranks

_STREAM = 3  # after those of ``data.batches``


def open_prior(config: TrainConfig, device: str) -> Prior | None:
    """What the network of a run is given beside the slices; None where it is given nothing.

    Raises
    ------
    ModelError
        If the checkpoint is refused.
    """
    if config.priors is None:
        return None
    if not config.priors.model:
        return Prior(None, config.preprocess)
    return read_prior(Path(config.priors.model), config.preprocess, device)


def drawn_truths(share: float, seed: int, step: int, total: int) -> BoolArray:
    """Which slices of a whole batch have the truth as prior, (total,).

    Drawn from the step, so that a resumed run and every number of ranks draw the same.
    """
    return np.asarray(np.random.default_rng((seed, _STREAM, step)).uniform(size=total) < share, np.bool_)


def training_input(
    prior: Prior,
    images: Tensor,
    masks: Tensor,
    config: TrainConfig,
    ranks: Ranks,
    *,
    step: int,
    total: int,
    bf16: bool,
) -> Tensor:
    """The share of this rank of a batch, with priors, (n, 6, h, w).

    Parameters
    ----------
    images, masks
        (n, 3, h, w) and (n, 1, h, w) of this rank.
    total
        Slices of the batch over all ranks.
    """
    assert config.priors is not None
    drawn = drawn_truths(config.priors.truth_share, config.batching.seed, step, total)
    own = ranks.share(total)
    return prior.beside(images, masks, by_truth=drawn[own.start : own.stop], bf16=bf16)
