"""What a measured fact of a scan has to keep to, and what follows if it does not."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from infnet_runtime.errors import InputError
from infnet_runtime.measure.flags import Flag

Consequence = Callable[[str, float], InputError | Flag]
"""From what was found in the scan, in words, and the measured number to a refusal or a flag."""


@dataclass(frozen=True)
class Rule:
    """A limit with its consequence.

    Parameters
    ----------
    fact
        Name of what is measured.
    least, most
        A number outside breaks the rule.
    broken
        What follows.
    vouched
        What follows instead where the user vouches for the meaning of the values, if that can help.
    """

    fact: str
    broken: Consequence
    least: float = -math.inf
    most: float = math.inf
    vouched: Consequence | None = None

    def holds(self, number: float) -> bool:
        """Whether a number keeps the limit."""
        return self.least <= number <= self.most


def apply_rules(
    rules: Iterable[Rule], facts: Mapping[str, float], found: str, *, vouched: bool = False
) -> tuple[Flag, ...]:
    """Flags of the rules that are broken; the first one that refuses ends it.

    Parameters
    ----------
    facts
        Numbers by name.
    found
        The scan and its values in words, the beginning of each message.

    Raises
    ------
    InputError
        If a broken rule refuses.
    """
    flags = []
    for rule in rules:
        if rule.holds(facts[rule.fact]):
            continue
        consequence = rule.vouched if vouched and rule.vouched else rule.broken
        result = consequence(found, facts[rule.fact])
        if isinstance(result, InputError):
            raise result
        flags.append(result)
    return tuple(flags)
