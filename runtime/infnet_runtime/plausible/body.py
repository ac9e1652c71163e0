"""Whether a scan shows a body of possible size that lies as its affine says: the rules together."""

from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.anatomy import head_doubts, spine_doubts
from infnet_runtime.plausible.chest import chest_doubts
from infnet_runtime.plausible.coarse import coarse_chest
from infnet_runtime.plausible.geometry import extent_remarks, size_doubts
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask


def body_doubts(scan: CtVolume, lungs: LungMask, *, has_size: bool) -> tuple[Flag, ...]:
    """Flags on the size and the posture of the body; none without a lung.

    Parameters
    ----------
    has_size
        Whether the voxel size is meant. Where it is not, only where the spine lies is judged.

    Raises
    ------
    GeometryError
        If no body is as the affine says.
    """
    chest = coarse_chest(scan, lungs)
    if chest is None:
        return ()
    sizes = (*size_doubts(chest, scan.source), *chest_doubts(chest)) if has_size else ()
    posture = (*spine_doubts(chest, scan.source, has_size=has_size), *head_doubts(chest))
    return (*sizes, *posture, *(extent_remarks(chest, scan.grid) if has_size else ()))
