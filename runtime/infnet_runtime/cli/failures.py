"""What an exception means to the user: an error with a number, or a bug."""

import errno

from infnet_runtime.errors import InfnetError, InputError, OutputError

_CV2_NO_MEMORY = -4  # cv2.Error.StsNoMem
_LONGEST_DETAIL = 200  # letters: a backend tells all it knows, over several lines
# Of the loader, when a library that is first needed now finds no room; of the threads, for their stacks; of
# the backends.
_NO_MEMORY_TEXTS = (
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
)


def typed(error: Exception) -> InfnetError | None:
    """The numbered error that an exception is; None for a bug."""
    if not lacks_memory(error):
        return error if isinstance(error, InfnetError) else None
    if isinstance(error, InputError | OutputError):
        return error  # which says more
    cause = _cause(error)
    detail = " ".join(str(cause).split())[:_LONGEST_DETAIL] or type(cause).__name__
    return OutputError(
        f"memory ran out ({detail}); close other programs, or crop the scan. --threads 1 --batch-size 1 "
        "takes the least",
        code=8012,
    )


def lacks_memory(error: Exception) -> bool:
    """Whether memory that ran out is behind an exception."""
    cause = _cause(error)
    return isinstance(cause, Exception) and _is_lack_of_memory(cause)


def _cause(error: Exception) -> BaseException | None:
    # A backend's lack of memory looks like a model that cannot be loaded.
    return error.__cause__ if isinstance(error, InfnetError) else error


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if type(error).__module__ == "cv2" and getattr(error, "code", None) == _CV2_NO_MEMORY:
        return True
    return any(text in str(error).lower() for text in _NO_MEMORY_TEXTS)
