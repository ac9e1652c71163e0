"""What a reader must know before trusting a number.

A flag has a name for programs and a sentence for people. The sentence says what was found and what to do,
with the values of the scan at hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """Something about a result that its reader must know.

    Parameters
    ----------
    name
        For programs: lower case and underscores, stable, explained in ``docs/flags.md``.
    text
        For people: what was found, what it means for the numbers, what to do.
    warns
        True if the numbers may be wrong by more than the model's own error; False for a remark.
    """

    name: str
    text: str
    warns: bool = True


LUNGS_BY_THRESHOLD = Flag(
    "lung_mask_heuristic",
    "lungs found by threshold: shares of the lung are approximate, see --lungs",
    warns=False,
)
NO_LUNG = Flag("no_lung_found", "no lung was found: there is no volume and no share of the lung to give")
OUTSIDE_LUNGS = Flag(
    "infection_outside_lungs",
    "infection was marked outside the lungs, and is not counted; the lungs may be incomplete",
    warns=False,
)
