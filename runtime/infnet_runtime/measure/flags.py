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
# By more than this the two ways to find lungs differ in no scan with lungs that hold air
# (docs/decisions/0009-lungs-by-a-network.md).
_UNSURE, _DENSE, _LOW = 0.05, 0.10, 0.01


def lungs_compared(only_threshold: float, only_network: float, below: float) -> tuple[Flag, ...]:
    """Flags of lungs that the network found, held against those that thresholds find.

    Parameters
    ----------
    only_threshold, only_network
        What only one of the two finds, as shares of the network's lungs.
    below
        What lies below a lung and is hardly part of it, as a share of them too.
    """
    flags: tuple[Flag, ...] = ()
    if only_threshold > _UNSURE:
        flags = (
            Flag(
                "lungs_unsure",
                f"thresholds find air inside the body that the network does not take for lung, "
                f"{only_threshold:.1%} of the lungs ({_UNSURE:.0%} at the most where both see the same): "
                "bowel, or lung that is missing; look at the lungs (--lungs-out), and give a lung mask with "
                "--lungs if they are wrong",
            ),
        )
    if only_network > _DENSE:
        flags += (
            Flag(
                "dense_lung",
                f"{only_network:.0%} of the lungs are too dense for thresholds and were found by the network "
                "alone: consolidation, collapse or effusion, or no lung; the millilitres rest on it, look at "
                "the lungs (--lungs-out)",
            ),
        )
    if below > _LOW:
        flags += (
            Flag(
                "lungs_too_low",
                f"{below:.1%} of the lungs hold no air, lie below a lung and become wider there: a cyst of a "
                "kidney or bowel rather than lung; then shares of the lung are too small by as much. Look at "
                "the lungs (--lungs-out), and give a lung mask with --lungs if they are wrong",
            ),
        )
    return flags


NO_LUNG = Flag("no_lung_found", "no lung was found: there is no volume and no share of the lung to give")
OUTSIDE_LUNGS = Flag(
    "infection_outside_lungs",
    "infection was marked outside the lungs, and is not counted; the lungs may be incomplete",
    warns=False,
)
