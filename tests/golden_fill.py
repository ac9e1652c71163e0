"""The name-seeded weights of the golden file, in the layout of the authors' checkpoint."""

import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def reference_shapes(network: str = "infnet") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' checkpoint: of ``infnet``, or ``infnet_unet`` for the classes."""
    rows = (line.split() for line in (GOLDEN / f"{network}_reference_keys.txt").read_text().splitlines())
    return {name: tuple(int(n) for n in re.findall(r"\d+", shape)) for name, shape in rows}


def reference_state(network: str = "infnet") -> dict[str, Tensor]:
    """All entries, in double precision."""
    return {name: fill(name, shape) for name, shape in reference_shapes(network).items()}


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """Name-seeded weights, as ``_spec.fill`` of the golden file says."""
    r = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    if name.endswith("running_mean") or name.endswith("bias"):
        values = 0.1 * r.standard_normal(shape)
    elif name.endswith("running_var"):
        values = r.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        values = r.standard_normal(shape) * np.sqrt(1 / (shape[1] * shape[2] * shape[3]))
    elif len(shape) == 2:
        values = 0.01 * r.standard_normal(shape)
    else:
        values = 0.8 + 0.1 * r.standard_normal(shape)
    return torch.from_numpy(values)
