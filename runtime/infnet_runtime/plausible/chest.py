"""Whether a scan shows a chest, and whether both of its lungs hold air.

Limits and what was measured stand in ``docs/plausibility.md``.
"""

import numpy as np

from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.coarse import CoarseChest
from infnet_runtime.scan.sides import LEFT, RIGHT

# Lung in less of the scan than this, at one end of it and low for its width, is the base above an abdomen, or
# the apex below a neck. Chests have 0.71 and more, the abdomen at hand 0.09.
_LEAST_OF_SCAN = 0.35
_LOW = 0.5
# The smaller lung has 0.64 of the other in the scans at hand where both hold air.
_FAR_SMALLER = 0.5
# In fewer slices sections of different size are nothing strange.
_LEAST_HEIGHT_MM = 60.0


def chest_doubts(chest: CoarseChest) -> tuple[Flag, ...]:
    """Flags on what part of a body is seen, and on a lung that is mostly dense."""
    used = chest.slices_with_lung
    height_mm, _, width_mm = chest.box_mm
    share = (used.stop - used.start) / len(chest.lungs)
    flags: tuple[Flag, ...] = ()
    if chest.is_cut[0] != chest.is_cut[1] and share < _LEAST_OF_SCAN and height_mm < _LOW * width_mm:
        end, other = ("upper", "abdomen") if chest.is_cut[1] else ("lower", "neck")
        flags = (
            Flag(
                "no_chest",
                f"lung is seen in {share:.0%} of the scan only, at its {end} end: it shows the {other} "
                "rather than the chest, and all millilitres are those of the bit of lung in it",
            ),
        )
    right, left = (int(np.count_nonzero(chest.lungs == side)) for side in (RIGHT, LEFT))
    smaller = min(right, left) / max(right, left, 1)
    if right and left and smaller < _FAR_SMALLER and height_mm >= _LEAST_HEIGHT_MM:
        name, other = ("left", "right") if left < right else ("right", "left")
        flags += (
            Flag(
                "lung_far_smaller",
                f"the {name} lung that was found has {smaller:.0%} of the {other} one: a part of it may be "
                "dense or collapsed, or outside of the picture, and is not in the numbers; look at the scan, "
                "and give a lung mask with --lungs",
            ),
        )
    return flags
