"""All that is doubtful about a scan whose lungs are known."""

from dataclasses import dataclass

from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.acquisition import acquisition_remarks
from infnet_runtime.plausible.body import body_doubts
from infnet_runtime.plausible.both_lungs import both_lungs
from infnet_runtime.plausible.coarse import CoarseChest, coarse_chest
from infnet_runtime.plausible.given_lungs import given_lungs
from infnet_runtime.plausible.intensity import doubtful_values
from infnet_runtime.plausible.padding import padding
from infnet_runtime.plausible.resolution import resolution_doubts
from infnet_runtime.plausible.upright import upright_doubts
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask


@dataclass(frozen=True, eq=False)
class FirstLook:
    """What the lungs that thresholds find say of a scan, before those of the network take their place.

    The rules on size and posture were measured with these lungs, and go on with them.
    """

    chest: CoarseChest | None
    upright: tuple[Flag, ...]


def first_look(scan: CtVolume, lungs: LungMask) -> FirstLook:
    """Look at a scan by the lungs that thresholds found."""
    return FirstLook(coarse_chest(scan, lungs), upright_doubts(scan, lungs))


def doubts(
    scan: CtVolume,
    lungs: LungMask,
    *,
    has_size: bool,
    for_network: bool = True,
    first: FirstLook | None = None,
) -> tuple[Flag, ...]:
    """Flags of a scan before the network runs.

    Parameters
    ----------
    has_size
        Whether the voxel size is meant; a caller can know better than the grid of the scan.
    for_network
        False leaves out what a network marks wrongly, for masks that come from elsewhere.
    first
        What thresholds saw, where ``lungs`` were not found by them, nor given.

    Raises
    ------
    InputError
        If the scan cannot be what it is taken for.
    """
    by_threshold = None if first is None else first.chest
    return (
        *acquisition_remarks(scan),
        *doubtful_values(scan),
        *given_lungs(scan, lungs),
        *both_lungs(lungs),
        *padding(scan),
        *(resolution_doubts(scan, lungs, has_size=has_size) if for_network else ()),
        *body_doubts(scan, lungs, has_size=has_size, by_threshold=by_threshold),
        *(upright_doubts(scan, lungs) if first is None else first.upright),
    )
