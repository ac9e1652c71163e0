"""Errors of a training, and the check of a number; the tree of errors is in ``infnet_runtime.errors``."""

import math

from infnet_runtime.errors import InputError


class ConfigError(InputError):
    """The configuration is refused."""


def check_number(
    name: str, value: float, low: float, high: float = math.inf, *, without: tuple[float, ...] = ()
) -> None:
    """Refuse a number of a configuration that is not finite or out of its range.

    Parameters
    ----------
    low, high
        Ends of the range, both in it.
    without
        Which of them is not in it after all.

    Raises
    ------
    ConfigError
        With the key, the value and the range.

    Examples
    --------
    >>> check_number("ema", 1.0, 0, 1, without=(1,))
    Traceback (most recent call last):
        ...
    infnet_train.errors.ConfigError: [INF-3101] ema is 1.0, expected 0 to 1, below 1
    """
    if math.isfinite(value) and low <= value <= high and value not in without:
        return
    expected = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
    if low in without:
        expected = f"more than {low:g}" if high == math.inf else f"{expected}, above {low:g}"
    if high in without:
        expected += f", below {high:g}"
    raise ConfigError(f"{name} is {value}, expected {expected}", code=3101)
