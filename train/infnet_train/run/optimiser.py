"""The optimiser of a run: its rate, AdamW or SGD, its state after a resume, running mean of the weights."""

import math

import torch
from torch import Tensor, nn

from infnet_train.config.steps import OptimiserConfig, Schedule
from infnet_train.weights.checkpoint import restore_optimiser


def learning_rate(schedule: Schedule, epoch: int, step: int, total_steps: int) -> float:
    """Rate at a step; ``epoch`` counts from 1."""
    rate = schedule.learning_rate
    if schedule.lr_schedule == "compounding":
        # The released code multiplies the current rate by 0.1 ** (e // step) before each epoch e.
        return float(rate * 0.1 ** sum(e // schedule.lr_step for e in range(1, epoch + 1)))
    if schedule.lr_schedule == "step":
        return float(rate * 0.1 ** (epoch // schedule.lr_step))
    if schedule.lr_schedule == "cosine":
        if step < schedule.warmup_steps:
            return rate * (step + 1) / schedule.warmup_steps
        done = (step - schedule.warmup_steps) / max(total_steps - schedule.warmup_steps, 1)
        return 0.5 * rate * (1 + math.cos(math.pi * done))
    return rate


def rate_at_share(schedule: Schedule, step: int, share: float) -> float:
    """Rate of a run that lasts a time instead of a number of epochs.

    Parameters
    ----------
    step
        Steps done, for the rise at the beginning.
    share
        Of the time that is over, 0 to 1: it stands for the same share of the epochs.
    """
    if schedule.lr_schedule == "cosine":
        rise = min(1.0, (step + 1) / max(schedule.warmup_steps, 1))
        return rise * 0.5 * schedule.learning_rate * (1 + math.cos(math.pi * share))
    epoch = min(1 + int(share * schedule.epochs), schedule.epochs)
    return learning_rate(schedule, epoch, step, total_steps=1)


def make_optimiser(model: nn.Module, config: OptimiserConfig, rate: float) -> torch.optim.Optimizer:
    """AdamW, which without weight decay is the Adam of the paper, or gradient descent with momentum.

    All tensors are updated in one pass (``fused``): a third of the time on a CPU, one kernel on a GPU. Its
    rounding differs from that of the plain form in the last bit.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(trained, rate, config.momentum, weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(trained, lr=rate, weight_decay=config.weight_decay, fused=True)


def resume_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state from a checkpoint, in the memory layout of the parameters.

    Files hold plain row-major tensors. The fused update walks through parameter, gradient and state by
    address and would pair the wrong elements of a channels-last parameter with row-major state.
    """
    restore_optimiser(optimiser, tensors)
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


@torch.no_grad()
def update_running_mean(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Running mean of weights and of the statistics of the normalisation; short memory at the start."""
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(averaged.state_dict().values(), model.state_dict().values(), strict=True))
    means, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    torch._foreach_lerp_(means, values, 1 - decay)
    for count, new in pairs:
        if not count.is_floating_point():
            count.copy_(new)
