"""A run that another thread can stop: whoever works for long asks now and then whether to go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from infnet_runtime.errors import Cancelled


class Cancel:
    """Stops every run that it was given to, now and later: one for each run, and none is used again.

    ``cancel`` may be called from any thread, any number of times, and from a progress callback. The run ends
    with :class:`~infnet_runtime.errors.Cancelled` before its next batch of slices; one that has come to its
    end is not changed.
    """

    def __init__(self) -> None:
        self._asked = False  # written once, by whichever thread: no lock is needed

    def cancel(self) -> None:
        """Let the run end."""
        self._asked = True

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._asked


_LOOK_S = 0.05  # between looks of who waits
_given: ContextVar[Cancel | None] = ContextVar("infnet cancel", default=None)


@contextmanager
def cancelled_by(cancel: Cancel | None) -> Iterator[None]:
    """Let everything inside, in this thread, be stopped by ``cancel``; by nothing where it is None."""
    token = _given.set(cancel)
    try:
        yield
    finally:
        _given.reset(token)


def go_on() -> None:
    """Come back, unless the run was cancelled.

    Raises
    ------
    Cancelled
        If it was.
    """
    cancel = _given.get()
    if cancel is not None and cancel.cancelled:
        raise Cancelled(
            "the run was cancelled by the program that started it: there is no result, and what its outputs "
            "hold means nothing; start it again with a new Cancel",
            code=9001,
        )


@contextmanager
def in_turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock that others hold for long, such as for a batch each; who waits may be cancelled meanwhile.

    Raises
    ------
    Cancelled
        If the run was cancelled before its turn came.
    """
    # Who cannot be cancelled need not look.
    while not lock.acquire(timeout=-1 if _given.get() is None else _LOOK_S):
        go_on()
    try:
        go_on()
        yield
    finally:
        lock.release()
