"""Where the network looks: the slices with lung, and the box around the lungs of the whole scan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.lungs import find_lungs, given_lungs, lung_box, slices_with_lung
from infnet_runtime.lungs.lobes import given_lobes, sides_of_lobes
from infnet_runtime.lungs.reduced import Reduced
from infnet_runtime.measure.flags import LUNGS_BY_THRESHOLD, NO_LUNG, Flag
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.grid import Grid
from infnet_runtime.scan.lung_mask import LungMask, lung_mask
from infnet_runtime.segment.thinned import planes_to_run, step_between
from infnet_runtime.slices.neighbours import Picked


@dataclass(frozen=True, eq=False)
class Region:
    """What goes through the network, in LPS.

    Parameters
    ----------
    lungs
        As they are reported.
    inside : (slice, row, column)
        Where infection counts, everything but 0: the lungs, or all of a picture in which none is seen.
    rows, columns
        The box that holds all of it.
    slices
        Those that hold some of it.
    run
        Those of them that go through the network.
    """

    lungs: LungMask
    inside: ByteArray
    rows: slice
    columns: slice
    slices: list[int]
    run: list[int]

    @property
    def box_shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def batches(self, size: int) -> Iterator[Picked]:
        """Picked of each batch for the network, as a plain slice where they are neighbours."""
        for start in range(0, len(self.run), size):
            part = self.run[start : start + size]
            neighbours = part[-1] - part[0] == len(part) - 1
            yield slice(part[0], part[-1] + 1) if neighbours else part


def lungs_and_lobes(
    lungs: LungMask | AnyArray | None, lobes: AnyArray | None, grid: Grid, source: str
) -> tuple[LungMask | AnyArray | None, ByteArray | None]:
    """Lungs and lobes as they were given, the lobes checked; where lobes alone were, the lungs are theirs.

    Raises
    ------
    InputError, GeometryError
        If the lobes are refused.
    """
    if lobes is None:
        return lungs, None
    by_lobe = given_lobes(lobes, grid, source=source)
    return sides_of_lobes(by_lobe) if lungs is None else lungs, by_lobe


def lungs_of(
    scan: CtVolume,
    given: LungMask | AnyArray | None,
    *,
    out: ByteArray | None = None,
    reduced: Reduced | None = None,
) -> tuple[LungMask, tuple[Flag, ...]]:
    """Lungs of a scan, given or found, and what a reader must know of them.

    Parameters
    ----------
    out : (i, j, k)
        Where their labels are written; an array of their own where absent.
    reduced
        As of ``find_lungs``, where lungs are found.

    Raises
    ------
    InputError
        If the given ones are refused.
    """
    flags: tuple[Flag, ...] = ()
    if given is None:
        target = None if out is None else scan.to_lps(out)
        labels = find_lungs(scan.to_lps(), scan.lps_spacing_mm, scan.intensity, out=target, reduced=reduced)
        lungs = lung_mask(scan.from_lps(labels), scan.grid, origin="threshold", source=scan.source)
        flags = (LUNGS_BY_THRESHOLD,)
    else:
        # One that was built already is looked at again: a host may have built it on another grid.
        lungs = (
            lung_mask(
                given.labels, scan.grid, source=scan.source, remark=given.remark, cut_slices=given.cut_slices
            )
            if isinstance(given, LungMask)
            else given_lungs(given, scan.grid, source=scan.source)
        )
        if out is not None:
            out[...] = lungs.labels
            lungs = replace(lungs, labels=out)
    if not lungs.labels.any():
        flags = (*flags, NO_LUNG)
    return lungs, flags


def region(lungs: LungMask, grid: Grid, margin_mm: float, *, fast: bool = False) -> Region:
    """Where to look.

    Parameters
    ----------
    grid
        Of the scan. One without a size may be a picture cut so tightly that no lung is recognised: then all
        of it is looked at, and its lungs are said to be none.
    margin_mm : mm
        Of the box around the lungs.
    fast
        Leave out slices between near ones, see :mod:`~infnet_runtime.segment.thinned`.
    """
    inside = lungs.to_lps()
    if not grid.has_size and not inside.any():
        lungs, inside = replace(lungs, origin="none"), np.ones(inside.shape, np.uint8)
    rows, columns = lung_box(inside, grid.lps_spacing_mm, margin_mm)
    slices = [int(i) for i in slices_with_lung(inside)]
    step = step_between(grid.lps_spacing_mm[0]) if fast and grid.has_size else 1
    return Region(lungs, inside, rows, columns, slices, planes_to_run(slices, step))


def numbers(picked: Picked) -> Sequence[int]:
    """Of the slices of a batch."""
    return range(picked.start, picked.stop) if isinstance(picked, slice) else picked
