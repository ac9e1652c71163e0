"""A run that is stopped from outside ends with its own error, and no other run does."""

import threading

import pytest

from infnet_runtime import Cancel, Cancelled
from infnet_runtime.cancel import cancelled_by, go_on, in_turn


def test_what_is_cancelled_does_not_go_on() -> None:
    cancel = Cancel()
    with cancelled_by(cancel):
        go_on()
        cancel.cancel()
        cancel.cancel()
        with pytest.raises(Cancelled, match="INF-9001.*a new Cancel") as caught:
            go_on()
    assert cancel.cancelled
    assert (caught.value.code, caught.value.exit_code) == (9001, 9)
    go_on()


def test_a_run_inside_another_has_its_own() -> None:
    cancel = Cancel()
    cancel.cancel()
    with cancelled_by(cancel), cancelled_by(None):
        go_on()


def test_another_thread_is_not_cancelled() -> None:
    cancel, ended = Cancel(), []
    cancel.cancel()
    with cancelled_by(cancel):
        thread = threading.Thread(target=lambda: ended.append(go_on()))
        thread.start()
        thread.join()
    assert ended == [None]


def test_who_waits_for_its_turn_can_be_cancelled() -> None:
    lock, cancel = threading.Lock(), Cancel()
    lock.acquire()
    threading.Timer(0.1, cancel.cancel).start()
    with cancelled_by(cancel), pytest.raises(Cancelled), in_turn(lock):
        raise AssertionError("it was not its turn")
    assert lock.locked(), "it is still the other's"


@pytest.mark.parametrize("cancel", [None, Cancel()], ids=["plain", "to be cancelled"])
def test_a_turn_comes_when_the_other_s_ends(cancel: Cancel | None) -> None:
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.15, lock.release).start()
    with cancelled_by(cancel):
        with in_turn(lock):
            assert lock.locked()
        assert not lock.locked()
        with pytest.raises(KeyError), in_turn(lock):
            raise KeyError
        assert not lock.locked()
