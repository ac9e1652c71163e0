"""One thread for everything that a session does on a GPU.

ONNX Runtime keeps a context of its CUDA provider, with the graph it recorded, for each thread that calls, and
never gives one back while graphs are on; a second thread would record a second graph over the same buffers.
PyCUDA gives things back only in the thread that made them. So a session has a thread of its own: it opens the
session, runs every call in turn, and closes it.
"""

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from infnet_runtime.backends.session import closed
from infnet_runtime.errors import ModelError
from infnet_runtime.home import Home, in_forked_child

T = TypeVar("T")

# While one thread records a graph in ONNX Runtime's way, the driver refuses allocations in all the others and
# breaks the recording. Memory is taken and given back at opening and closing alone.
_ALLOCATING = threading.Lock()


def _forget_the_parent() -> None:
    """In a forked child: a thread that is not there may have held the lock."""
    global _ALLOCATING
    _ALLOCATING = threading.Lock()


in_forked_child(_forget_the_parent)


class OwnerThread:
    """Runs what it is given, one after another, in one thread.

    An exception that comes out has the frames it went through as text: themselves they would keep objects of
    the GPU alive for as long as somebody looks at the exception.

    Parameters
    ----------
    holder
        What holds the objects of the GPU: in a forked child they are not given back.
    """

    def __init__(self, holder: object = None) -> None:
        self._home = Home(holder or self)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="infnet-gpu")

    def open(self, work: Callable[[], T]) -> T:
        """Run what takes memory, while no other owner takes or gives back any."""
        return self._begin(work, alone=True).result()

    def run(self, work: Callable[[], T]) -> T:
        """Run a call.

        Raises
        ------
        ModelError
            After :meth:`close`.
        BackendError
            In a process that was forked from the one that opened.
        """
        return self._begin(work, alone=False).result()

    def close(self, last: Callable[[], None]) -> None:
        """Run what gives memory back, after all calls that wait, and end the thread. Twice is allowed.

        In a process that was forked from the one that opened, nothing is given back.
        """
        if not self._home.is_here:
            return
        try:
            waiting = self._begin(last, alone=True)
        except ModelError:  # closed before
            return
        try:
            waiting.result()
        finally:
            self._pool.shutdown()

    def _begin(self, work: Callable[[], T], *, alone: bool) -> Future[T]:
        self._home.check()
        try:
            return self._pool.submit(_run, work, alone)
        except RuntimeError as error:  # shut down
            raise closed() from error


def _run(work: Callable[[], T], alone: bool) -> T:
    try:
        if not alone:
            return work()
        with _ALLOCATING:
            return work()
    except BaseException as error:
        let_go(error)
        raise


def let_go(error: BaseException) -> None:
    """Turn the frames that an exception, and those it came from, went through into a note of text."""
    known, waiting = set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        waiting += [e for e in (one.__cause__, one.__context__) if e is not None]
        if one.__traceback__ is not None:
            one.add_note("in the thread of the GPU:\n" + "".join(traceback.format_tb(one.__traceback__)))
            one.__traceback__ = None
