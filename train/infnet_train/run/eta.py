"""How long a run will still take, and times in words."""

import time
from collections.abc import Callable


class Eta:
    """Time left, by the mean speed since the first look; a new stage begins anew.

    Parameters
    ----------
    clock
        Gives seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._last = (0, 0)

    def left_s(self, done: int, total: int) -> float | None:
        """Seconds until the end; None before it is known.

        Parameters
        ----------
        done, total
            Steps; fewer than at the last look mean a new stage.
        """
        now = self._clock()
        if self._began is None or done < self._last[0]:
            self._began = (now, done)
        self._last = (done, total)
        since, first = self._began
        return None if done <= first else (total - done) * (now - since) / (done - first)


def in_words(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> [in_words(s) for s in (0.4, 42, 90, 3700, 90_000)]
    ['under 1 s', '42 s', '1 min 30 s', '1 h 1 min', '25 h 0 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours = minutes // 60
    if hours:
        return f"{hours} h {minutes % 60} min"
    if minutes:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    return f"{rest} s" if rest else "under 1 s"
