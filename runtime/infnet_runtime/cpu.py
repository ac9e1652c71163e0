"""What the processor offers this process: cores, units for short numbers, and how many threads are taken."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from infnet_runtime.home import in_forked_child
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
    """OpenCV has one number of threads for the whole process: of several who ask, the fewest.

    The last gives back the number of the host, also where the host set another one meanwhile.
    """

    def __init__(self) -> None:
        self.forget_the_parent()
        self._host = self._set = 0

    def forget_the_parent(self) -> None:
        """In a forked child: those who asked are not in it, and the lock may have been theirs."""
        self._lock = threading.Lock()
        self._asked: list[int] = []

    @contextmanager
    def using(self, threads: int) -> Iterator[None]:
        with self._lock:
            self._asked.append(threads)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._asked.remove(threads)
                self._apply()

    def _apply(self) -> None:
        from infnet_runtime.opencv import cv2

        now = cv2.getNumThreads()
        if now != self._set:
            self._host = now
        self._set = min(self._asked, default=self._host)
        if self._set != now:  # even the same number again would end OpenCV's threads
            cv2.setNumThreads(self._set)


_OPENCV = _OpenCv()
in_forked_child(_OPENCV.forget_the_parent)


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """Let everything inside take so many threads: what asks :func:`usable_cores`, and OpenCV.

    OpenCV's number belongs to the whole process. Of several that overlap the fewest counts; at the end of the
    last the host's number is put back. The pools of NumPy are as large as they were when it was loaded;
    :func:`limit_process` sets them before, or the variables of the environment.

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
    from infnet_runtime.opencv import cv2

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
