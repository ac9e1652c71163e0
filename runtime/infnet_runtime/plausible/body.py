"""Whether a scan shows a body of possible size that lies as its affine says: the rules together."""

from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.anatomy import head_doubts, spine_doubts
from infnet_runtime.plausible.chest import chest_doubts
from infnet_runtime.plausible.coarse import CoarseChest, coarse_chest
from infnet_runtime.plausible.geometry import extent_remarks, size_doubts
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask


def body_doubts(
    scan: CtVolume, lungs: LungMask, *, has_size: bool, by_threshold: CoarseChest | None = None
) -> tuple[Flag, ...]:
    """Flags on the size and the posture of the body; none without a lung.

    Parameters
    ----------
    has_size
        Whether the voxel size is meant. Where it is not, only where the spine lies is judged.
    by_threshold
        The same scan with the lungs that thresholds find, where ``lungs`` are others: the limits of size and
        posture were measured with those.

    Raises
    ------
    GeometryError
        If no body is as the affine says.
    """
    chest = coarse_chest(scan, lungs) if by_threshold is None else by_threshold.with_lungs(lungs)
    body = by_threshold or chest
    if body is None:
        return ()
    sizes = size_doubts(body, scan.source) if has_size else ()
    seen = chest_doubts(chest) if has_size and chest else ()
    posture = (*spine_doubts(body, scan.source, has_size=has_size), *head_doubts(body))
    return (*sizes, *seen, *posture, *(extent_remarks(chest, scan.grid) if has_size and chest else ()))
