"""A model belongs to the process that loaded it.

The threads that compute do not exist in a process that was forked from that one. A run there may wait for
them for ever, and so may giving memory back: ONNX Runtime and OpenVINO join their threads when a model goes.
So in such a child a run is refused, and what the parent had loaded stays as it is until the child ends.
"""

import ctypes
import os
import weakref
from collections.abc import Callable
from typing import NoReturn

from infnet_runtime.errors import BackendError

_OWNERS: weakref.WeakSet[object] = weakref.WeakSet()


class Home:
    """The process that something was loaded in; kept by what must not be used in another.

    Parameters
    ----------
    owner
        What holds memory or threads of a library. In a child it is never given back, not even at the end of
        the interpreter.
    """

    def __init__(self, owner: object) -> None:
        self._process = os.getpid()
        _OWNERS.add(owner)

    @property
    def is_here(self) -> bool:
        """Whether this is that process."""
        return os.getpid() == self._process

    def check(self) -> None:
        """Refuse another process.

        Raises
        ------
        BackendError
            If this process was forked from the one that loaded.
        """
        if not self.is_here:
            raise BackendError(
                f"the model was loaded in process {self._process} and is used in {os.getpid()}, which was "
                "forked from it: the threads that compute were not. Call load() in each process after the "
                "fork, or start processes with multiprocessing's 'spawn'",
                code=5060,
            )

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process, together with what keeps it."""
        raise BackendError(
            "a loaded model was to be pickled, as multiprocessing does with what it hands to a process; hand "
            "over the path of the model file and call load() there",
            code=5061,
        )


def in_forked_child(do: Callable[[], None]) -> None:
    """Let something be done in every process forked from this one, before anything else runs there."""
    if hasattr(os, "register_at_fork"):  # there is no fork on Windows
        os.register_at_fork(after_in_child=do)


def _keep_what_the_parent_loaded() -> None:
    for owner in list(_OWNERS):
        # One reference that nobody gives back: lists and modules are cleared at the end of the interpreter.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    _OWNERS.clear()


in_forked_child(_keep_what_the_parent_loaded)
