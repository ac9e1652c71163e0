"""Wall time of the stages of a run."""

import time


class Stopwatch:
    """Wall time between laps, in seconds to the millisecond."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap under this name."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
