"""Work in three stages at the same time, in order and in bounded memory.

While the middle stage works on one item, the stage in front of it prepares the next ones and the stage behind
it finishes the last ones, each in a thread of its own. NumPy, OpenCV and the backends release the interpreter
while they compute.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Computed = TypeVar("Computed")

AHEAD = 2
"""Items that wait before and behind the middle stage; more would only take memory."""


def one_after_another(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    compute: Callable[[Prepared], Computed],
    finish: Callable[[Item, Computed], None],
) -> Generator[Item, None, None]:
    """Take each item through the three stages; what :func:`overlapped` must be equal to.

    Yields
    ------
    Each item when it is finished.
    """
    for item in items:
        finish(item, compute(prepare(item)))
        yield item


def overlapped(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    compute: Callable[[Prepared], Computed],
    finish: Callable[[Item, Computed], None],
) -> Generator[Item, None, None]:
    """Take items through three stages that run at the same time.

    Every stage sees the items in their order and one at a time, so ``finish`` may write to shared arrays.
    ``compute`` runs in the thread that asks for the next item. What a stage raises is raised here, an
    interrupt too; then nothing new is started, and no thread is left when the iterator is closed.

    Yields
    ------
    Each item when it is finished, in order.
    """
    source = iter(items)
    waiting: deque[tuple[Item, Future[Prepared]]] = deque()
    finishing: deque[tuple[Item, Future[None]]] = deque()
    before = ThreadPoolExecutor(1, thread_name_prefix="infnet-prepare")
    behind = ThreadPoolExecutor(1, thread_name_prefix="infnet-finish")

    def start_next() -> None:
        for item in source:
            waiting.append((item, before.submit(prepare, item)))
            return

    def next_finished() -> Item:
        item, job = finishing.popleft()
        job.result()
        return item

    try:
        for _ in range(AHEAD):
            start_next()
        while waiting:
            item, job = waiting.popleft()
            prepared = job.result()
            start_next()
            computed = compute(prepared)
            finishing.append((item, behind.submit(finish, item, computed)))
            del job, prepared, computed  # else they live on while the next item is awaited
            while len(finishing) > AHEAD:
                yield next_finished()
        while finishing:
            yield next_finished()
    finally:
        for pool in (before, behind):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (before, behind):
            pool.shutdown(wait=True)
