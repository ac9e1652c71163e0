"""Memory that nobody uses any more and that the C library keeps."""

import ctypes
import sys


def give_back() -> None:
    """Return to the system what the C library keeps for later; where it is not glibc, nothing happens.

    Glibc keeps a heap for each of many threads, and of a model that was loaded or freed in one of them up to
    250 MiB stay in it. A program that loads models in its threads for months would hold that for each.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
