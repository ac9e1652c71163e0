"""Batches: the same with and without the thread, after a skip, and put together from the shares of ranks."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from infnet_train.config.schema import TrainConfig
from infnet_train.data.augment import AugmentConfig
from infnet_train.data.batch import Batch
from infnet_train.data.batches import Sources, batches, prefetched, refuse_one_slice, steps_per_epoch
from infnet_train.data.datasets import load_source
from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError
from infnet_train.machine.ranks import Ranks
from train_config import changed, train_config

CONFIG = train_config(
    name="small",
    sources=(
        SourceConfig(name="first", folder="small", names=("s0", "s1", "s2")),
        SourceConfig(name="second", folder="small", names=("s3", "s4"), draws=4),
    ),
    augment=AugmentConfig(mirror=0.5, rotation_deg=10, scale=0.1, noise=0.05, blur=1.0, enhance=0.5),
    epochs=2,
    batch_size=3,
    sizes=(64, 96),
)
ALONE = Ranks()


@pytest.fixture
def sources(slices: Path) -> Sources:
    return [(s, load_source(slices, s, 64)) for s in CONFIG.sources]


@pytest.fixture
def config() -> TrainConfig:
    return changed(CONFIG, preprocess=dataclasses.replace(CONFIG.preprocess, size=64))


def batches_of(config: TrainConfig, sources: Sources, ranks: Ranks, *, step: int) -> Iterator[Batch]:
    epochs = config.schedule.epochs
    return batches(config.batching, config.preprocess, sources, ranks, step=step, epochs=epochs)


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return batch.images, batch.masks, batch.edges


def assert_same(found: Iterator[Batch] | list[Batch], expected: list[Batch]) -> None:
    found = list(found)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.total == other.total
        assert all(map(torch.equal, tensors(one), tensors(other)))


def test_every_step_has_a_batch_and_the_last_is_short(config: TrainConfig, sources: Sources) -> None:
    assert steps_per_epoch(config.batching, sources) == 6  # 7 slices, batches of 3, two sizes each
    made = list(batches_of(config, sources, ALONE, step=0))
    assert [tuple(b.images.shape) for b in made[:6:2]] == [(3, 3, 64, 64), (3, 3, 64, 64), (1, 3, 64, 64)]
    assert [b.total for b in made] == [3, 3, 3, 3, 1, 1] * 2
    assert not torch.equal(made[0].images, made[6].images)


def test_the_thread_and_a_skip_change_nothing(config: TrainConfig, sources: Sources) -> None:
    expected = list(batches_of(config, sources, ALONE, step=0))
    with prefetched(batches_of(config, sources, ALONE, step=0), ahead=2) as ready:
        assert_same(ready, expected)
    for step in (1, 2, 5, 6, 9, 12):
        assert_same(batches_of(config, sources, ALONE, step=step), expected[step:])


@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_ranks_are_the_batch_of_one_process(
    config: TrainConfig, sources: Sources, count: int
) -> None:
    expected = list(batches_of(config, sources, ALONE, step=0))
    parts = [list(batches_of(config, sources, Ranks(rank, count), step=0)) for rank in range(count)]
    joined = [
        Batch(*map(torch.cat, zip(*map(tensors, of_step), strict=True)), None, of_step[0].total)
        for of_step in zip(*parts, strict=True)
    ]
    assert_same(joined, expected)
    assert len(parts[-1][5].images) == 0  # one slice, several ranks


def test_masks_keep_their_values_where_asked(config: TrainConfig, sources: Sources) -> None:
    hard = [(s, dataclasses.replace(d, masks=(d.masks > 127) * d.masks.dtype.type(255))) for s, d in sources]
    plain = changed(config, augment=AugmentConfig(), sizes=(96,), mask_resize="nearest")
    for batch in batches_of(plain, hard, ALONE, step=0):
        assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}
    soft = batches_of(changed(plain, mask_resize="bilinear"), hard, ALONE, step=0)
    assert len(next(soft).masks.unique()) > 2


def test_errors_of_the_thread_arrive_after_the_items_before_them() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    seen = []
    with prefetched(items()) as ready:
        seen += list(islice(ready, 3))
        with pytest.raises(OSError, match="the disk is gone"):
            next(ready)
    assert seen == [0, 1, 2]


def test_the_thread_is_bounded_and_ends_with_the_block() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1_000_000):
            taken.append(number)
            yield number

    before = threading.active_count()
    with contextlib.suppress(KeyboardInterrupt), prefetched(items(), ahead=2) as ready:
        assert next(ready) == 0
        raise KeyboardInterrupt
    assert threading.active_count() == before
    assert len(taken) <= 5  # one taken, two waiting, one in hand, and one made while one was taken


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes", "expected"),
    [
        (7, 3, (32,), [3, 4]),
        (7, 3, (64, 32), [3, 3, 4, 4]),
        (7, 3, (64,), [3, 3, 1]),  # four values are enough, and the batches stay what they were
        (7, 6, (32,), [7]),
        (7, 7, (32,), [7]),
        (7, 8, (32,), [7]),
        (8, 3, (32,), [3, 3, 2]),
        (2, 1, (64,), [1, 1]),
        (1, 4, (64,), [1]),
    ],
)
def test_a_single_slice_left_over_joins_the_batch_before_where_it_could_not_be_normalised(
    config: TrainConfig,
    sources: Sources,
    count: int,
    batch_size: int,
    sizes: tuple[int, ...],
    expected: list[int],
) -> None:
    config = changed(config, batch_size=batch_size, sizes=sizes, epochs=1)
    of_first = max(1, count - 4)
    sources = [
        (dataclasses.replace(source, draws=draws), labelled)
        for (source, labelled), draws in zip(sources, (of_first, count - of_first), strict=True)
        if draws
    ]
    made = list(batches_of(config, sources, ALONE, step=0))
    assert [len(batch.images) for batch in made] == [batch.total for batch in made] == expected
    assert len(made) == steps_per_epoch(config.batching, sources)
    for ranks in (2, 3):
        shares = [list(batches_of(config, sources, Ranks(rank, ranks), step=1)) for rank in range(ranks)]
        assert [sum(len(batch.images) for batch in same) for same in zip(*shares, strict=True)] == expected[
            1:
        ]


def test_one_slice_alone_is_refused_at_the_smallest_size(config: TrainConfig, sources: Sources) -> None:
    source, labelled = sources[0]
    one: Sources = [(dataclasses.replace(source, draws=1), labelled)]
    with pytest.raises(ConfigError, match=r"\[INF-3101\] the sources have one slice, and at sizes = \[32\]"):
        refuse_one_slice(changed(config, sizes=(64, 32)).batching, one)
    refuse_one_slice(changed(config, sizes=(64,)).batching, one)
    with pytest.raises(ConfigError, match=r"batch_size is 1, and at sizes = \[32\]"):
        changed(config, batch_size=1, sizes=(32, 64))
    assert changed(config, batch_size=1, sizes=(64,)).batching.batch_size == 1
