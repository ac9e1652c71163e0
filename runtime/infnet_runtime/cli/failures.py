"""What an exception means to the user: an error with a number, or a bug."""

import errno

from infnet_runtime.errors import InfnetError, OutputError

_CV2_NO_MEMORY = -4  # cv2.Error.StsNoMem
# Of the loader, when a library that is first needed now finds no room; of the threads, for their stacks.
_NO_MEMORY_TEXTS = ("cannot allocate memory", "failed to map segment", "can't start new thread")


def typed(error: Exception) -> InfnetError | None:
    """The numbered error that an exception is; None for a bug."""
    if isinstance(error, InfnetError):
        return error
    if not _is_lack_of_memory(error):
        return None
    detail = str(error) or type(error).__name__
    return OutputError(
        f"memory ran out ({detail}); close other programs, or crop the scan. --threads 1 --batch-size 1 "
        "takes the least",
        code=8012,
    )


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if type(error).__module__ == "cv2" and getattr(error, "code", None) == _CV2_NO_MEMORY:
        return True
    return isinstance(error, ImportError | OSError | RuntimeError) and any(
        text in str(error).lower() for text in _NO_MEMORY_TEXTS
    )
