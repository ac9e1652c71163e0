"""How the scan was taken and stored: what of it touches the numbers."""

from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.ct import CtVolume


def acquisition_remarks(scan: CtVolume) -> tuple[Flag, ...]:
    """Flags on slices that are missing, and on pixels that were compressed with a loss."""
    taken = scan.acquisition
    if taken is None:
        return ()
    flags: tuple[Flag, ...] = ()
    if taken.gaps:
        missing = sum(gap.missing for gap in taken.gaps)
        where = ", ".join(f"{gap.mm:.4g} mm after slice {gap.after + 1}" for gap in taken.gaps)
        flags = (
            Flag(
                "slices_missing",
                f"{missing} slice{'s are' if missing > 1 else ' is'} missing ({where}, counted in stored "
                "order): millilitres and shares are those of the slices that are there, and what lies behind "
                "a gap is drawn too near by its width; get the whole series",
            ),
        )
    if taken.is_lossy:
        flags += (
            Flag(
                "lossy_compressed",
                "the pixels were once compressed with a loss (0028,2110): HU may be off, most of all in fine "
                "structures; use the original series where numbers matter",
            ),
        )
    return flags
