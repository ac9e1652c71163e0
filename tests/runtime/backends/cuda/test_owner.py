import threading
import weakref

import pytest

from infnet_runtime.backends.cuda.owner import OwnerThread, let_go
from infnet_runtime.errors import ModelError


class Thing:
    pass


def failing(seen: list[weakref.ref[Thing]]) -> None:
    thing = Thing()
    seen.append(weakref.ref(thing))
    try:
        [_fails(thing) for _ in range(2)]
    except ZeroDivisionError as error:
        raise ValueError("the second") from error


def _fails(thing: Thing) -> None:
    raise ZeroDivisionError("the first")


def test_everything_happens_in_one_other_thread() -> None:
    owner, seen = OwnerThread(), []
    assert owner.open(lambda: seen.append(threading.get_ident()) or 5) == 5

    def call() -> None:
        owner.run(lambda: seen.append(threading.get_ident()))

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner.close(lambda: seen.append(threading.get_ident()))
    assert len(seen) == 7
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


def test_closing_waits_for_calls_and_ends_the_thread() -> None:
    owner, order, begun, goes_on = OwnerThread(), [], threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        goes_on.wait(10)
        order.append("call")

    calling = threading.Thread(target=lambda: owner.run(slow))
    calling.start()
    begun.wait(10)
    threading.Timer(0.05, goes_on.set).start()
    owner.close(lambda: order.append("close"))
    calling.join()
    owner.close(lambda: order.append("again"))
    assert order == ["call", "close"]
    with pytest.raises(ModelError, match="INF-4080.*the session is closed"):
        owner.run(lambda: None)
    assert not any(thread.name.startswith("infnet-gpu") for thread in threading.enumerate())


@pytest.mark.usefixtures("no_collector")
def test_an_exception_holds_nothing() -> None:
    owner, seen = OwnerThread(), []
    with pytest.raises(ValueError, match="the second") as told:
        owner.run(lambda: failing(seen))
    first = told.value.__cause__
    assert isinstance(first, ZeroDivisionError)
    assert "_fails" in first.__notes__[0]
    assert seen[0]() is None
    owner.close(lambda: None)


@pytest.mark.usefixtures("no_collector")
def test_without_letting_go_it_would_be_held() -> None:
    seen: list[weakref.ref[Thing]] = []
    try:
        failing(seen)
    except ValueError as error:
        kept = error
    assert seen[0]() is not None
    let_go(kept)
    assert seen[0]() is None


def test_a_failure_while_closing_ends_the_thread_too() -> None:
    owner = OwnerThread()

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        owner.close(fails)
    owner.close(fails)
    assert not any(thread.name.startswith("infnet-gpu") for thread in threading.enumerate())


def test_only_one_session_takes_memory_at_a_time() -> None:
    """A graph that another thread records breaks when memory is allocated meanwhile."""
    inside, most, running = 0, 0, threading.Barrier(2)

    def takes_memory() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.02)
        inside -= 1

    def use() -> None:
        owner = OwnerThread()
        running.wait()
        owner.open(takes_memory)
        owner.close(takes_memory)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
