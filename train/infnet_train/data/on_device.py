"""Augmentation on the device that trains: all slices lie there, and a batch is made of them in a few kernels.

A GPU trains faster than a processor core augments. Here the slices stay on the device in 8 bit, and moving,
resizing and the changes of grey are done for a whole batch at once. What is drawn comes from the same kind
of generator as on the CPU, seeded by the place of the batch, but in another order, so that a run differs from
one that augments on the CPU. Moving and resizing are one interpolation instead of two. Histogram equalisation
(``enhance``) is not done here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from infnet_runtime.arrays import BoolArray, ByteArray, DoubleArray
from infnet_runtime.model.specs import NEIGHBOURS, PreprocessSpec
from infnet_train.data.augment import AugmentConfig
from infnet_train.data.batch import Batch
from infnet_train.data.datasets import LabelledSlices

# Below this the kernel of a blur is a single pixel; a little of it keeps the weights finite.
_SHARP = 0.05


@dataclass(frozen=True)
class _Draws:
    """What is drawn for a batch, one number a slice where nothing else is said.

    Parameters
    ----------
    to_source : (n, 2, 3)
        From places in the batch to places in the slices, both -1..1 from the first to the last pixel centre.
    blur_radius : pixels
        Of the kernel for the largest blur.
    kept : (n, 2), bool
        Whether the planes below and above stay.
    """

    to_source: DoubleArray
    gamma: DoubleArray
    contrast: DoubleArray
    brightness: DoubleArray
    blur: DoubleArray
    blur_radius: int
    noise: DoubleArray
    kept: BoolArray


class DeviceSlices:
    """All slices of a run on a device.

    Parameters
    ----------
    slices
        Of each source.
    """

    def __init__(self, slices: list[LabelledSlices], spec: PreprocessSpec, device: str) -> None:
        self._spec, self._device = spec, torch.device(device)
        self._first = np.cumsum([0, *(len(s) for s in slices)])
        neighbours = spec.channels == NEIGHBOURS
        ignored = any(s.ignore is not None for s in slices)
        self._grey = torch.cat([self._to_device(_grey_planes(s, neighbours=neighbours)) for s in slices])
        self._labels = torch.cat([self._to_device(_label_planes(s, ignored=ignored)) for s in slices])
        self._classes = None
        if any(s.classes is not None for s in slices):
            known = (self._to_device(s.known_classes(slice(None))[:, None]) for s in slices)
            self._classes = torch.cat(list(known))
        alone = (self._grey[:, ::2] == self._grey[:, 1:2]).flatten(2).all(dim=2) if neighbours else None
        self._alone = None if alone is None else alone.cpu().numpy()  # (slices, 2)

    def batch(
        self,
        picks: list[tuple[int, int]],
        config: AugmentConfig,
        *,
        own: range,
        size: int,
        seed: tuple[int, ...],
        hard_labels: bool,
    ) -> Batch:
        """A batch of the slices picked, on the device.

        Parameters
        ----------
        picks
            Source and slice, of the whole batch.
        own
            Which of them this process trains.
        size : pixels
            Side of the batch.
        seed
            Of everything that is drawn.
        hard_labels
            Take the nearest label instead of interpolating.
        """
        side = self._grey.shape[-1]
        draws = _draw(len(picks), config, np.random.default_rng(seed), blur_scale=size / side)
        part = slice(own.start, own.stop)
        chosen = np.array([self._first[source] + i for source, i in picks], np.int64)[part]
        index = torch.from_numpy(chosen).to(self._device)
        grid = functional.affine_grid(
            self._tensor(draws.to_source[part]), [len(chosen), 1, size, size], align_corners=True
        )

        def moved(planes: Tensor, *, mode: str, border: str) -> Tensor:
            scaled = planes[index].float() / 255
            return functional.grid_sample(scaled, grid, mode, border, align_corners=True)

        grey = moved(self._grey, mode="bilinear", border="border")
        labels = moved(self._labels, mode="nearest" if hard_labels else "bilinear", border="zeros")
        classes = None
        if self._classes is not None:  # a number between two classes would be another class
            numbers = self._classes[index].float()
            classes = functional.grid_sample(numbers, grid, "nearest", "zeros", align_corners=True)
        grey = self._change_grey(grey, draws, part, seed)
        if self._alone is not None:
            kept = torch.from_numpy(draws.kept[part] & ~self._alone[chosen]).to(self._device)
            grey[:, ::2] = torch.where(kept[:, :, None, None], grey[:, ::2], grey[:, 1:2])
        mean, std = (
            torch.tensor(v, device=self._device)[:, None, None] for v in (self._spec.mean, self._spec.std)
        )
        return Batch(
            (grey - mean) / std,
            labels[:, :1],
            labels[:, 1:2],
            1 - labels[:, 2:] if labels.shape[1] > 2 else None,
            len(picks),
            classes,
        )

    def _change_grey(self, grey: Tensor, draws: _Draws, part: slice, seed: tuple[int, ...]) -> Tensor:
        """Blur, contrast, brightness, gamma and noise, as :func:`~infnet_train.data.augment.augment` does."""
        if draws.blur.any():
            grey = _blurred(grey, self._tensor(draws.blur[part]), draws.blur_radius)
        contrast, brightness, gamma, noise = (
            self._tensor(v[part])[:, None, None, None]
            for v in (draws.contrast, draws.brightness, draws.gamma, draws.noise)
        )
        grey = ((grey - 0.5) * contrast + 0.5 + brightness).clamp(0, 1) ** gamma
        if draws.noise.any():
            generator = torch.Generator(self._device)
            generator.manual_seed(int(np.random.SeedSequence((*seed, part.start)).generate_state(1)[0]))
            drawn = torch.randn(grey.shape, generator=generator, device=self._device)
            grey = (grey + noise * drawn).clamp(0, 1)
        return grey

    def _to_device(self, planes: ByteArray) -> Tensor:
        return torch.from_numpy(planes).to(self._device)

    def _tensor(self, values: DoubleArray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self._device)


def _grey_planes(slices: LabelledSlices, *, neighbours: bool) -> ByteArray:
    """(n, 3, size, size) with the slices themselves where neighbours are not known, or (n, 1, size, size)."""
    if not neighbours:
        return slices.images[:, None]
    below, above = (slices.images if p is None else p for p in (slices.below, slices.above))
    return np.stack([below, slices.images, above], axis=1)


def _label_planes(slices: LabelledSlices, *, ignored: bool) -> ByteArray:
    """Mask, edge, and what is ignored in any source, (n, 2 or 3, size, size)."""
    planes = [slices.masks, slices.edges]
    if ignored:
        planes.append(np.zeros_like(slices.masks) if slices.ignore is None else slices.ignore)
    return np.stack(planes, axis=1)


def _draw(n: int, config: AugmentConfig, rng: np.random.Generator, *, blur_scale: float) -> _Draws:
    def spread(relative: float) -> DoubleArray:
        return np.asarray((1 + relative) ** rng.uniform(-1, 1, n), np.float64)

    angle = np.deg2rad(rng.uniform(-1, 1, n) * config.rotation_deg)
    scale, aspect = spread(config.scale), spread(config.aspect)
    shift = rng.uniform(-1, 1, (n, 2)) * config.shift * 2  # the side is 2 long
    mirror = np.where(rng.uniform(size=n) < config.mirror, -1.0, 1.0)
    dropped = rng.uniform(size=n) < config.drop_neighbours
    which = rng.integers(4, size=n)  # both in half of the cases, else one
    kept = np.stack([~dropped | (which == 3), ~dropped | (which == 2)], axis=1)
    turn = np.moveaxis(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), 2, 0)
    stretch = np.stack([mirror * scale * np.sqrt(aspect), scale / np.sqrt(aspect)], axis=1)
    inverse = np.linalg.inv(turn * stretch[:, None, :])  # (n, 2, 2)
    return _Draws(
        to_source=np.concatenate([inverse, -inverse @ shift[:, :, None]], axis=2),
        gamma=spread(config.gamma),
        contrast=spread(config.contrast),
        brightness=rng.uniform(-1, 1, n) * config.brightness,
        blur=rng.uniform(size=n) * config.blur * blur_scale,
        blur_radius=max(1, math.ceil(3 * config.blur * blur_scale)),
        noise=rng.uniform(size=n) * config.noise,
        kept=kept,
    )


def _blurred(grey: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur of each slice by its own sigma, (n, c, h, w)."""
    n, c, h, w = grey.shape
    steps = torch.arange(-radius, radius + 1, device=grey.device)
    kernel = torch.exp(-0.5 * (steps / sigma.clamp_min(_SHARP)[:, None]) ** 2)  # (n, 2 * radius + 1)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(c, dim=0)[:, None, None]
    planes = grey.reshape(1, n * c, h, w)  # one group for each plane
    padded = functional.pad(planes, (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel, groups=n * c)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=n * c).reshape(n, c, h, w)
