"""Stages that overlap give what stages in a row give, in bounded memory, and stop cleanly."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from infnet_runtime.segment.overlap import AHEAD, one_after_another, overlapped

Stages = tuple[Callable[[int], int], Callable[[int], int], Callable[[int, int], None]]
LONG_S = 20.0  # longer than any healthy run; a stage that waits in vain fails instead of hanging


def no_worker_is_left() -> bool:
    return not [t for t in threading.enumerate() if t.name.startswith("infnet-")]


def stages(done: list[tuple[int, int]]) -> Stages:
    return (
        lambda item: item + 1,
        lambda prepared: 10 * prepared,
        lambda item, value: done.append((item, value)),
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_order_and_results_are_those_of_stages_in_a_row(count: int) -> None:
    runs = []
    for run in (one_after_another, overlapped):
        done: list[tuple[int, int]] = []
        items = list(run(range(count), *stages(done)))
        assert items == list(range(count))
        runs.append(done)
    assert runs[0] == runs[1] == [(i, 10 * (i + 1)) for i in range(count)]
    assert no_worker_is_left()


def test_the_next_item_is_prepared_and_the_last_one_finished_while_one_is_computed() -> None:
    second_prepared, second_computing = threading.Event(), threading.Event()

    def prepare(item: int) -> int:
        if item == 1:
            second_prepared.set()
        return item

    def compute(item: int) -> int:
        if item == 0:
            assert second_prepared.wait(LONG_S)
        if item == 1:
            second_computing.set()
        return item

    def finish(item: int, _: int) -> None:
        if item == 0:
            assert second_computing.wait(LONG_S)

    assert list(overlapped(range(2), prepare, compute, finish)) == [0, 1]


def test_few_items_wait_however_many_there_are() -> None:
    prepared = finished = most = 0

    def prepare(item: int) -> int:
        nonlocal prepared, most
        prepared += 1
        most = max(most, prepared - finished)
        return item

    def finish(*_: int) -> None:
        nonlocal finished
        finished += 1

    assert len(list(overlapped(range(200), prepare, lambda item: item, finish))) == 200
    # Those prepared, the one in the middle, those to be finished and the one that is being finished.
    assert most <= 2 * AHEAD + 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_what_a_stage_raises_stops_all_of_them(stage: int, error: type[BaseException]) -> None:
    if stage != 1 and error is KeyboardInterrupt:
        pytest.skip("interrupts reach the main thread, which runs the middle stage")
    started: list[int] = []

    def failing(*arguments: int) -> int:
        if arguments[0] == 3:
            raise error("of item 3")
        return arguments[0]

    def prepare(item: int) -> int:
        started.append(item)
        return failing(item) if stage == 0 else item

    def compute(item: int) -> int:
        return failing(item) if stage == 1 else item

    def finish(item: int, value: int) -> None:
        if stage == 2:
            failing(item, value)

    with pytest.raises(error, match="of item 3"):
        list(overlapped(range(1000), prepare, compute, finish))
    assert max(started) <= 3 + 2 * AHEAD + 2
    assert no_worker_is_left()


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    started: list[int] = []
    with closing(
        overlapped(range(1000), lambda i: started.append(i) or i, lambda i: i, lambda *_: None)
    ) as run:
        assert next(run) == 0
    assert len(started) <= 2 * AHEAD + 2
    assert no_worker_is_left()
