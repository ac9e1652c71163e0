"""Batch normalisations of a network that was read back: fresh scales, measured statistics."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from infnet_export.network.inf_net.inference_module import convolution_before
from infnet_runtime.arrays import FloatArray
from infnet_train.networks import InfNet

FRESH = ("edge_attention.conv4",)
"""Modules that an exported file does not hold and that start from random weights."""

_BATCH = 4


def norms(network: InfNet) -> list[str]:
    """Names of all normalisations."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


def is_fresh(name: str) -> bool:
    """Whether a module is not in an exported file."""
    return name.startswith(tuple(f"{module}." for module in FRESH))


def fresh_scale(network: InfNet) -> dict[str, Tensor]:
    """Give each filter the mean square it would begin with; by what each was multiplied, by normalisation."""
    scales = {}
    for norm in norms(network):
        convolution = network.get_submodule(convolution_before(norm))
        assert isinstance(convolution, nn.Conv2d)
        inside = convolution.kernel_size[0] * convolution.kernel_size[1]
        # Kaiming-normal by fan out in the backbone, PyTorch's uniform +-1 / sqrt(fan in) elsewhere.
        wanted = (
            (2 / (convolution.out_channels * inside)) ** 0.5
            if norm.startswith("backbone.")
            else (3 * convolution.in_channels * inside) ** -0.5
        )
        found = convolution.weight.square().mean(dim=(1, 2, 3)).sqrt()
        scale = torch.where(found > 0, wanted / found.clamp_min(1e-30), torch.ones_like(found))
        convolution.weight.mul_(scale[:, None, None, None])
        scales[norm] = scale
    return scales


def statistics(
    network: InfNet, biases: dict[str, Tensor], scales: dict[str, Tensor], slices: FloatArray | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of what goes into each normalisation, (channels,) each."""
    set_statistics(network, biases, scales, {})
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    if slices is None:
        return {}
    single = copy.deepcopy(network).float()  # the sums are double
    with _watched(single, sums):
        for start in range(0, len(slices), _BATCH):
            single(torch.from_numpy(slices[start : start + _BATCH]))
    return {
        name: (total / count, (squares / count - (total / count) ** 2).clamp_min(0))
        for name, (total, squares, count) in sums.items()
    }


@contextmanager
def _watched(network: InfNet, sums: dict[str, tuple[Tensor, Tensor, int]]) -> Iterator[None]:
    """Sum up what goes into each normalisation, its squares, and the number of pixels."""

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach()
            total, squares = (v.sum(dim=(0, 2, 3), dtype=torch.float64) for v in (x, x.square()))
            count = x[:, 0].numel()
            if name in sums:
                old = sums[name]
                total, squares, count = old[0] + total, old[1] + squares, old[2] + count
            sums[name] = total, squares, count

        return network.get_submodule(name).register_forward_pre_hook(before)

    handles = [watch(name) for name in norms(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def set_statistics(
    network: InfNet,
    biases: dict[str, Tensor],
    scales: dict[str, Tensor],
    statistics: dict[str, tuple[Tensor, Tensor]],
) -> None:
    """Let every normalisation divide by the scale and add the bias, with the statistics given."""
    for name, bias in biases.items():
        norm = network.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = statistics.get(name, (torch.zeros_like(bias), torch.ones_like(bias)))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        if is_fresh(name):
            continue
        norm.weight.copy_((variance + norm.eps).sqrt() / scales[name])
        norm.bias.copy_(bias + mean / scales[name])
