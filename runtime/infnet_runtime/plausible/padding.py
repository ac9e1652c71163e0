"""Whether a scan is filled up with a value that is no air, and how that is said."""

from infnet_runtime.lungs.padding import padding_values
from infnet_runtime.measure.flags import Flag
from infnet_runtime.scan.ct import CtVolume


def padding(scan: CtVolume) -> tuple[Flag, ...]:
    """A remark where something else than air surrounds what was scanned."""
    values = padding_values(scan.to_lps(), scan.intensity)
    if not values:
        return ()
    shown = " and ".join(f"{value:g}" for value in values)
    return (
        Flag(
            "padding_left_out",
            f"what surrounds the scanned field is exactly {shown}, the value of tissue: it was taken for the "
            "outside; padding of -1024 HU says it better",
            warns=False,
        ),
    )
