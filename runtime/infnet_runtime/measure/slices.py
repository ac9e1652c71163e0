"""What was marked slice by slice, and which slices the model's gate calls infected.

The score of a slice is the area marked in it, or in the neighbour above or below with more of it, whichever
is smaller: infection goes on into the next slice, false marks often do not.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infnet_runtime.arrays import ByteArray, DoubleArray
from infnet_runtime.measure.flags import Flag
from infnet_runtime.model.slice_gate import SliceGate


@dataclass(frozen=True)
class SliceFinding:
    """One axial slice with lung.

    Parameters
    ----------
    number
        From the feet, 1 the lowest of the scan; ``volume.to_lps(mask)[number - 1]`` is the slice.
    z_mm : mm
        Place of the centre of its plane along the body axis, upwards; None where the scan has no voxel size.
    lung_mm2, infection_mm2 : mm2
        Lung, and marked in it before any slice was silenced. None where the scan has no voxel size.
    infection_percent : % of the lung of the slice
    score_mm2 : mm2
        The smaller of ``infection_mm2`` and that of the neighbour that has more; the first one where the scan
        has a single slice. None where the scan has no voxel size.
    infected
        Whether the gate calls it infected; None where the model has no gate or the scan no voxel size.
    """

    number: int
    z_mm: float | None
    lung_mm2: float | None
    infection_mm2: float | None
    infection_percent: float
    score_mm2: float | None
    infected: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with three digits behind the point."""
        values = asdict(self)
        for name in ("z_mm", "lung_mm2", "infection_mm2", "infection_percent", "score_mm2"):
            values[name] = None if values[name] is None else round(values[name], 3)
        return values


def findings(
    infection: ByteArray,
    lungs: ByteArray,
    pixel_mm2: float | None,
    gate: SliceGate | None = None,
    *,
    z_mm: Sequence[float] | DoubleArray | None = None,
) -> tuple[SliceFinding, ...]:
    """Every slice with lung, from the feet.

    Parameters
    ----------
    infection, lungs : (slices, rows, columns)
        Marked inside the lungs, everything but 0.
    pixel_mm2 : mm2
        ``grid.pixel_mm2`` of the scan.
    gate
        Of the model.
    z_mm : (slices,), mm
        ``grid.slice_z_mm`` of the scan.

    Examples
    --------
    >>> mask, lungs = np.zeros((2, 10, 10), np.uint8), np.ones((2, 10, 10), np.uint8)
    >>> mask[0, :5] = 1
    >>> [(f.number, f.infection_mm2, f.score_mm2) for f in findings(mask, lungs, 0.5)]
    [(1, 25.0, 0.0), (2, 0.0, 0.0)]
    """
    marked = [int(np.count_nonzero(plane)) for plane in infection]
    found = []
    for index, plane in enumerate(lungs):
        if not plane.any():
            continue
        pixels = int(np.count_nonzero(plane))
        area, score = (
            None if pixel_mm2 is None else count * pixel_mm2
            for count in (marked[index], _agreed(marked, index))
        )
        found.append(
            SliceFinding(
                number=index + 1,
                z_mm=None if z_mm is None else float(z_mm[index]),
                lung_mm2=None if pixel_mm2 is None else pixels * pixel_mm2,
                infection_mm2=area,
                infection_percent=100 * marked[index] / pixels,
                score_mm2=score,
                infected=None if gate is None or score is None else gate.lets_through(score),
            )
        )
    return tuple(found)


def _agreed(marked: Sequence[int], index: int) -> int:
    """Marked in a slice, as far as a neighbour has as much."""
    beside = [*marked[max(index - 1, 0) : index], *marked[index + 1 : index + 2]]
    return min(marked[index], max(beside, default=marked[index]))


def is_silenced(one: SliceFinding) -> bool:
    """Whether a slice has marks and is not infected by the gate."""
    return one.infected is False and one.infection_percent > 0


def remark(found: Sequence[SliceFinding], gate: SliceGate, plane_mm: float | None) -> Flag:
    """What silencing slices did, for the reader of the numbers.

    Parameters
    ----------
    plane_mm : mm
        From the plane of one slice to that of the next; None where the scan has no voxel size.
    """
    if plane_mm is None:
        why = "the input has no voxel size"
    elif silenced := [one.infection_mm2 or 0.0 for one in found if is_silenced(one)]:
        return Flag(
            "slices_silenced",
            f"slice gate: the marks of {len(silenced)} slices were taken out, "
            f"{sum(silenced) * plane_mm / 1000:.1f} ml in all: they, or both of their neighbours, have less "
            f"than {gate.mm2:g} mm2. Mostly false marks, but a small lesion may be among them; the report "
            "lists the slices",
            warns=False,
        )
    else:
        why = f"what is marked reaches {gate.mm2:g} mm2 everywhere"
    return Flag("slice_gate_without_effect", f"slice gate: no effect: {why}", warns=False)
