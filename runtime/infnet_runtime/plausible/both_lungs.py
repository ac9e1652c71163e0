"""Whether both lungs are there, and which is which."""

from infnet_runtime.arrays import ByteArray
from infnet_runtime.measure.field_of_view import has_room_for
from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT


def both_lungs(lungs: LungMask) -> tuple[Flag, ...]:
    """What a reader must know of a scan with one lung; nothing where there are two or none."""
    seen = _labels(lungs.to_lps())
    if EITHER in seen:
        return (
            Flag(
                "side_unknown",
                "there is one lung, and nothing tells whether it is the right or the left: sides are not "
                "given; the other lung is not in the numbers; give a lung mask with --lungs, and name its "
                "side with --lung-labels right=1 or left=1",
            ),
        )
    if len(seen) != 1:
        return ()
    there, missing = ("left", "right") if LEFT in seen else ("right", "left")
    if not has_room_for(RIGHT if LEFT in seen else LEFT, lungs.to_lps()):
        return (
            Flag(
                "lung_outside_the_picture",
                f"the picture ends before the {missing} lung: what is given for both is the {there} lung "
                "alone",
            ),
        )
    return (
        Flag(
            "lung_missing",
            f"no {missing} lung was found: it is dense as a whole, or removed. What "
            f"is given for both is the {there} lung alone, a lower bound; look at the scan, and give a lung "
            "mask with --lungs if there is a lung",
        ),
    )


def _labels(labels: ByteArray) -> set[int]:
    """Labels that occur; stops at the second, for a scan with two lungs has nothing to be said of.

    Parameters
    ----------
    labels : (slice, row, column)
    """
    seen: set[int] = set()
    for plane in labels:
        if plane.any():
            seen |= {label for label in (RIGHT, LEFT, EITHER) if (plane == label).any()}
        if len(seen) > 1:
            break
    return seen
