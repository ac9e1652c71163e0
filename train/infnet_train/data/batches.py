"""Batches of a run: their order, augmentation and sizes, prepared ahead in a thread.

Everything random is drawn from generators seeded with (seed, epoch, position), so that nothing random is
carried along, and every process of a distributed run sees the batches that a single one would.
"""

import math
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from infnet_runtime.model.specs import NEIGHBOURS, PreprocessSpec
from infnet_runtime.slices.preprocess import normalise_planes
from infnet_train.data.augment import AugmentConfig, SlicePlanes, augment
from infnet_train.data.batch import Batch
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.on_device import DeviceSlices
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError, check_number
from infnet_train.machine.ranks import Ranks

Sources = list[tuple[SourceConfig, LabelledSlices]]
MaskResize = Literal["bilinear", "nearest"]

_STREAM_ORDER, _STREAM_AUGMENT, _STREAM_SIZE = range(3)
_ONE_PIXEL = 32  # the size of which the deepest maps have one pixel; networks halve it five times
_AHEAD = 3  # batches; at 448 x 448 and 16 slices one is 64 MB
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How slices are put together.

    Parameters
    ----------
    augment
        Random changes of the slices.
    sizes
        Sides of the network input; each batch makes one optimiser step at every one of them (the paper's
        multi-scale strategy).
    random_size
        Each batch makes one step, at one of ``sizes`` drawn at random.
    batch_size
        Slices of a batch; the last of an epoch has what is left over. A single slice left over joins the
        batch before it where ``sizes`` has 32, of which the deepest maps of the network have one pixel.
    mask_resize
        How masks and edges come to the sizes of the batches: ``bilinear`` is the released code and makes them
        soft, ``nearest`` keeps them.
    seed
        Of all that is random in a run; the weights at its start too.
    """

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    batch_size: int = 16
    sizes: tuple[int, ...] = (256, 352, 448)
    random_size: bool = False
    mask_resize: MaskResize = "bilinear"
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, 1)
        check_number("seed", self.seed, 0)
        odd = [s for s in self.sizes if s % 32 or s < 32]
        if odd or not self.sizes:
            raise ConfigError(
                f"sizes are {list(self.sizes)}, expected multiples of 32, for example sizes = [256, 352]",
                code=3101,
            )
        if self.batch_size == 1 and _ONE_PIXEL in self.sizes:
            raise ConfigError(
                f"batch_size is 1, and at sizes = [{_ONE_PIXEL}] batch normalisation needs two slices; "
                "choose batch_size = 2 or more, or sizes from 64 on",
                code=3101,
            )


def steps_per_epoch(config: Batching, sources: Sources) -> int:
    """Optimiser steps of an epoch."""
    slices = sum(source.draws or len(labelled) for source, labelled in sources)
    return len(_batch_starts(slices, config)) * _steps_per_batch(config)


def refuse_one_slice(config: Batching, sources: Sources) -> None:
    """Refuse an epoch of a single slice where the network needs two.

    Raises
    ------
    ConfigError
        If there is only one.
    """
    slices = sum(source.draws or len(labelled) for source, labelled in sources)
    if slices == 1 and _ONE_PIXEL in config.sizes:
        raise ConfigError(
            f"the sources have one slice, and at sizes = [{_ONE_PIXEL}] batch normalisation needs two; "
            "choose sizes from 64 on, or draw the slice more than once (draws = 2)",
            code=3101,
        )


def batches(
    config: Batching,
    spec: PreprocessSpec,
    sources: Sources,
    ranks: Ranks,
    *,
    step: int,
    epochs: int,
    on_device: DeviceSlices | None = None,
) -> Iterator[Batch]:
    """Batches of the run from a step on, one for each optimiser step.

    Parameters
    ----------
    on_device
        The slices of ``sources`` where they are augmented on the device.
    """
    per_epoch = steps_per_epoch(config, sources)
    for epoch in range(step // per_epoch, epochs):
        skip = max(step - epoch * per_epoch, 0)
        batch_list = _epoch_batches(config, spec, sources, ranks, epoch, skip=skip, on_device=on_device)
        pinned = ranks.on_gpu and on_device is None
        yield from (b.pinned() for b in batch_list) if pinned else batch_list


@contextmanager
def prefetched(items: Iterator[_T], *, ahead: int = _AHEAD) -> Iterator[Iterator[_T]]:
    """Iterate in a thread, a few items ahead; leaving the block ends the thread.

    The items and their order are the same. An error of the thread is raised where its item would be.
    """
    done: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(ahead)
    stopped = threading.Event()

    def put(item: _T | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                done.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # handed on, whatever it is
            put(None, error)

    def results() -> Iterator[_T]:
        while True:
            item, error = done.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item

    thread = threading.Thread(target=work, name="infnet-batches", daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        stopped.set()
        thread.join()


def _steps_per_batch(config: Batching) -> int:
    return 1 if config.random_size else len(config.sizes)


def _epoch_order(config: Batching, sources: Sources, epoch: int) -> list[list[tuple[int, int]]]:
    """Batches of one epoch as (source, slice) pairs; the last batch may be short."""
    rng = np.random.default_rng((config.seed, _STREAM_ORDER, epoch))
    picks: list[tuple[int, int]] = []
    for index, (source, slices) in enumerate(sources):
        draws = source.draws or len(slices)
        # Whole permutations one after the other, so that no slice is drawn twice before all were once.
        rounds = [rng.permutation(len(slices)) for _ in range(math.ceil(draws / len(slices)))]
        picks += [(index, int(i)) for i in np.concatenate(rounds)[:draws]]
    order = [picks[i] for i in rng.permutation(len(picks))]
    starts = _batch_starts(len(order), config)
    return [order[i:stop] for i, stop in zip(starts, [*starts[1:], len(order)], strict=True)]


def _batch_starts(slices: int, config: Batching) -> list[int]:
    """Where the batches of an epoch begin.

    The last one may be short. A single slice left over joins the batch before it where the network may see
    one pixel of it: that has no variance to normalise by.
    """
    starts = list(range(0, slices, config.batch_size))
    if _ONE_PIXEL in config.sizes and len(starts) > 1 and slices - starts[-1] == 1:
        starts.pop()
    return starts


def _epoch_batches(
    config: Batching,
    spec: PreprocessSpec,
    sources: Sources,
    ranks: Ranks,
    epoch: int,
    *,
    skip: int,
    on_device: DeviceSlices | None,
) -> Iterator[Batch]:
    """Batches of an epoch without the first ``skip``."""
    per_batch = _steps_per_batch(config)
    for number, picks in enumerate(_epoch_order(config, sources, epoch)):
        left_out = max(skip - number * per_batch, 0)
        if left_out >= per_batch:
            continue
        sizes = config.sizes
        if config.random_size:
            rng = np.random.default_rng((config.seed, _STREAM_SIZE, epoch, number))
            sizes = (int(rng.choice(config.sizes)),)
        if on_device is not None:
            for size in sizes[left_out:]:
                yield on_device.batch(
                    picks,
                    config.augment,
                    own=ranks.share(len(picks)),
                    size=size,
                    seed=(config.seed, _STREAM_AUGMENT, epoch, number),
                    hard_labels=config.mask_resize == "nearest",
                )
            continue
        base = _load_batch(config, spec, sources, ranks, picks, (epoch, number))
        for size in sizes[left_out:]:
            yield _at_size(base, size, config)


def _load_batch(
    config: Batching,
    spec: PreprocessSpec,
    sources: Sources,
    ranks: Ranks,
    picks: list[tuple[int, int]],
    place: tuple[int, int],
) -> Batch:
    """Augment the slices of one rank.

    One generator serves the whole batch, so that the slices before this rank's own are augmented for
    their draws alone.
    """
    rng = np.random.default_rng((config.seed, _STREAM_AUGMENT, *place))
    own = ranks.share(len(picks))
    size = spec.size
    masks, edges, ignore, classes = (np.zeros((len(own), size, size), np.float32) for _ in range(4))
    with_classes = any(slices.classes is not None for _, slices in sources)
    channels = len(spec.mean) if spec.channels == NEIGHBOURS else 1
    grey = np.zeros((len(own), channels, size, size), np.float32)
    for number, (source, i) in enumerate(picks[: own.stop]):
        planes = slice_planes(sources[source][1], i, classes=with_classes)
        made = augment(planes, config.augment, rng)
        if number in own:
            k = number - own.start
            grey[k], masks[k], edges[k] = made.grey, made.mask, made.edge
            if made.ignore is not None:
                ignore[k] = made.ignore
            if made.classes is not None:
                classes[k] = made.classes
    return Batch(
        torch.from_numpy(normalise_planes(grey, spec)),
        torch.from_numpy(masks[:, None]),
        torch.from_numpy(edges[:, None]),
        torch.from_numpy(1 - ignore[:, None]) if ignore.any() else None,
        len(picks),
        torch.from_numpy(classes[:, None]) if with_classes else None,
    )


def slice_planes(slices: LabelledSlices, i: int, *, classes: bool = False) -> SlicePlanes:
    """One slice of a source; a neighbour that is the slice itself is absent.

    Parameters
    ----------
    classes
        Its classes too, whether or not its source has them.
    """
    below, above = (
        None if planes is None or np.array_equal(planes[i], slices.images[i]) else planes[i]
        for planes in (slices.below, slices.above)
    )
    ignore = None if slices.ignore is None or not slices.ignore[i].any() else slices.ignore[i]
    return SlicePlanes(
        slices.images[i],
        slices.masks[i],
        slices.edges[i],
        ignore,
        below,
        above,
        slices.known_classes(i) if classes else None,
    )


def _at_size(batch: Batch, size: int, config: Batching) -> Batch:
    """Resize image, mask and edge tensors as the original code does (aligned corners, no antialias).

    Classes are taken from the nearest pixel with aligned corners too, so that they stay on the picture.
    """
    if batch.images.shape[-1] == size:
        return batch

    def bilinear(x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)

    def nearest(x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(size, size), mode="nearest-exact")

    of_masks = nearest if config.mask_resize == "nearest" else bilinear
    keep = None if batch.keep is None else of_masks(batch.keep)
    classes = None if batch.classes is None else _nearest_aligned(batch.classes, size)
    return Batch(
        bilinear(batch.images), of_masks(batch.masks), of_masks(batch.edges), keep, batch.total, classes
    )


def _nearest_aligned(x: Tensor, size: int) -> Tensor:
    """Nearest pixels of (n, 1, h, h) at another size, the centres of the corners on each other."""
    places = torch.linspace(0, x.shape[-1] - 1, size).round().long()
    return x[..., places[:, None], places]
