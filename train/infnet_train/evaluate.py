"""A network on labelled slices."""

import numpy as np
import torch

from infnet_runtime.manifest import PreprocessSpec
from infnet_runtime.preprocess import normalise
from infnet_train.datasets import LabelledSlices
from infnet_train.model import InfNet

_BATCH = 8


def mean_dice(
    model: InfNet, slices: LabelledSlices, spec: PreprocessSpec, device: str, *, bf16: bool = False
) -> float:
    """Mean over the slices of the Dice at probability 0.5, at network size; 1 where both are empty."""
    model.eval()
    scores: list[float] = []
    for start in range(0, len(slices), _BATCH):
        part = slice(start, start + _BATCH)
        grey = slices.images[part].astype(np.float32) / np.float32(255)
        images = torch.from_numpy(normalise(grey, spec)).to(device, memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            found = (model(images).s3 >= 0).cpu().numpy()[:, 0]
        truth = slices.masks[part] > 127
        overlap = (found & truth).sum((1, 2))
        sizes = found.sum((1, 2)) + truth.sum((1, 2))
        scores += [2 * o / s if s else 1.0 for o, s in zip(overlap, sizes, strict=True)]
    return float(np.mean(scores))
