"""Batch normalisation over the batches of all ranks, on a CPU.

PyTorch's ``SyncBatchNorm`` does this on GPUs only.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


def synchronise_normalisation(model: nn.Module) -> None:
    """Let every batch normalisation inside a model use the statistics of all ranks."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, GlobalBatchNorm(child))
        else:
            synchronise_normalisation(child)


class GlobalBatchNorm(nn.Module):
    """Batch normalisation over the batches of all ranks; the state of an ``nn.BatchNorm2d``, taken over.

    Mean and variance are summed one after the other: the difference of mean square and squared mean would
    lose digits.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, single: nn.BatchNorm2d) -> None:
        super().__init__()
        assert single.momentum is not None
        self.momentum, self.eps = single.momentum, single.eps
        self.weight, self.bias = single.weight, single.bias
        for name, buffer in single.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, channels, h, w); n may differ between ranks and be 0."""
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        wide = x.to(self.weight.dtype)  # x may be bfloat16
        count = wide.new_tensor([x.numel() // x.shape[1]])
        sums = _sum_over_ranks(torch.cat([wide.sum((0, 2, 3)), count]))
        n = sums[-1].detach()
        if n == 1:
            raise ValueError("one value per channel has no variance: the batch or the slices are too small")
        mean = sums[:-1] / n
        centred = wide - mean[:, None, None]
        variance = _sum_over_ranks(centred.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


class _SumOverRanks(torch.autograd.Function):
    """Sum over the ranks; as every rank's loss depends on it, so is its gradient."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - the context has no public type
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        return _sum_over_ranks(gradient)


def _sum_over_ranks(values: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]
    return total
