"""What the processor offers this process: cores, units for short numbers, and how many threads are taken."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from infnet_runtime.instructions import cpu_flags

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# One instruction that multiplies bytes and adds in 32 bits. x86 without it adds in 16 bits and saturates, so
# that an 8-bit model loses accuracy there and gains no speed.
_INT8_UNITS = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp")
_BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")

# Read by the libraries when they are loaded.
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_asked_for: ContextVar[int] = ContextVar("infnet threads", default=0)


def usable_cores(*, quota_file: Path = _QUOTA) -> int:
    """Cores this process may use: its affinity, and the quota of its control group where there is one.

    Inside :func:`using_threads` the number that was asked for.
    """
    if _asked_for.get():
        return _asked_for.get()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = core_quota(quota_file=quota_file)
    return cores if quota is None else max(1, min(cores, int(quota)))


def core_quota(*, quota_file: Path = _QUOTA) -> float | None:
    """Quota of the control group (version 2) in cores, absent where there is none."""
    try:
        quota, period = quota_file.read_text("utf-8").split()  # microseconds, or "max <period>"
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


class _OpenCv:
    """OpenCV has one number of threads for the whole process; the last who asked for one gives it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    @contextmanager
    def using(self, threads: int) -> Iterator[None]:
        import cv2

        with self._lock:
            if not self._users:
                self._before = cv2.getNumThreads()
            self._users += 1
            cv2.setNumThreads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    cv2.setNumThreads(self._before)


_OPENCV = _OpenCv()


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """Let everything inside take so many threads: what asks :func:`usable_cores`, and OpenCV.

    OpenCV's number belongs to the whole process. It is put back at the end, or when the last of several that
    overlap ends. The pools of NumPy are as large as they were when it was loaded; :func:`limit_process` sets
    them before, or the variables of the environment.

    Parameters
    ----------
    threads
        0 changes nothing.
    """
    if not threads:
        yield
        return
    token = _asked_for.set(threads)
    try:
        with _OPENCV.using(threads):
            yield
    finally:
        _asked_for.reset(token)


def limit_process(threads: int) -> None:
    """Hold this process to so many threads for good; for commands, before they load NumPy.

    Parameters
    ----------
    threads
        0 changes nothing.
    """
    if not threads:
        return
    _asked_for.set(threads)
    os.environ.update(dict.fromkeys(_POOLS, str(threads)))
    import cv2

    cv2.setNumThreads(threads)


def int8_unit() -> str | None:
    """Name of the unit for 8-bit products that is used, absent where there is none or it is not known."""
    return _first(_INT8_UNITS)


def bf16_unit() -> str | None:
    """Name of the unit for products in bfloat16, absent where there is none or it is not known."""
    return _first(_BF16_UNITS)


def _first(units: tuple[str, ...]) -> str | None:
    flags = cpu_flags()
    return next((unit for unit in units if unit in flags), None)
