"""A run that is stopped from outside ends with its own error, and no other run does."""

import threading

import pytest

from infnet_runtime import Cancel, Cancelled
from infnet_runtime.cancel import cancelled_by, go_on


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
