"""Whether sizes can be those of a chest: the field of view, the lungs, their proportions and litres.

A spacing in metres, ten times off, or belonging to another axis gives millilitres that are wrong by as much,
and an affine that was never filled in gives neither millilitres nor sides. The limits leave room for newborns
and for the largest of adults; what was measured stands in ``docs/plausibility.md``.
"""

from infnet_runtime.errors import GeometryError
from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.coarse import CoarseChest
from infnet_runtime.scan.grid import Grid, is_identity

_AGAIN = "convert the scan again from its DICOM files"
# The bore of a scanner is 900 mm at most; the whole chest of a newborn is 80 to 100 mm wide.
_FIELD_MM = (50.0, 1200.0)
# Both lungs together. Newborns have 70 mm, the scans at hand 180 to 360.
_WIDTH_MM = (30.0, 450.0)
# Height of both lungs over their width: 0.59 to 1.09 where no end is cut, 1.3 in a field of view cut on both
# sides; a hundredth and a hundred if the slice distance is in another unit.
_HEIGHT_REFUSED, _HEIGHT_FLAGGED = (0.15, 2.0), (0.4, 1.6)
# Depth over width: 0.52 to 0.98.
_DEPTH_REFUSED, _DEPTH_FLAGGED = (0.15, 3.0), (0.35, 1.4)
# The total capacity of tall adults is 10 litres.
_MOST_LITRES_REFUSED, _MOST_LITRES_FLAGGED = 15.0, 10.0


def refuse_lost_geometry(grid: Grid, source: str) -> None:
    """Refuse a grid before anything is looked for on it. One without a size promises nothing.

    Parameters
    ----------
    source
        Name of the scan for messages.

    Raises
    ------
    GeometryError
        If the affine was never filled in, or no body has this size.
    """
    if not grid.has_size:
        return
    if not grid.is_stated and is_identity(grid.affine):
        raise GeometryError(
            f"{source} has an identity for an affine (voxels of exactly 1 x 1 x 1 mm, origin 0): whoever "
            "saved it lost the geometry, so neither millilitres nor left and right are known. Convert the "
            "scan again from its DICOM files, or save it with the affine of the original; with an "
            "orientation assumed (--assume-orientation LPS, if you know it) it is read without millilitres",
            code=3035,
        )
    _, rows, columns = grid.lps_shape
    _, row_mm, column_mm = grid.lps_spacing_mm
    field_mm = max(rows * row_mm, columns * column_mm)
    lowest, highest = _FIELD_MM
    if not lowest <= field_mm <= highest:
        raise GeometryError(
            f"{source} is {columns * column_mm:.4g} mm from right to left and {rows * row_mm:.4g} mm from "
            f"front to back ({columns} x {rows} pixels of {column_mm:.4g} x {row_mm:.4g} mm), expected "
            f"{lowest:g} to {highest:g} mm for a chest; the voxel size in the header is wrong, perhaps its "
            f"unit: {_AGAIN}",
            code=3036,
        )


def size_doubts(chest: CoarseChest, source: str) -> tuple[Flag, ...]:
    """Flags on the size of the lungs.

    Parameters
    ----------
    source
        Name of the scan for messages.

    Raises
    ------
    GeometryError
        If no lungs have this size.
    """
    height_mm, depth_mm, width_mm = chest.box_mm
    found = f"the lungs are {width_mm:.0f} mm wide, {depth_mm:.0f} mm deep and {height_mm:.0f} mm high"
    if chest.has_both_lungs and not _WIDTH_MM[0] <= width_mm <= _WIDTH_MM[1]:
        raise GeometryError(
            f"{source}: {found}, expected {_WIDTH_MM[0]:g} to {_WIDTH_MM[1]:g} mm in width; the voxel size "
            f"in the header is wrong: {_AGAIN}",
            code=3036,
        )
    litres = chest.lung_ml / 1000
    if litres > _MOST_LITRES_REFUSED:
        raise GeometryError(
            f"{source}: {found} and hold {litres:.1f} litres, expected {_MOST_LITRES_FLAGGED:g} at most; the "
            f"voxel size in the header is wrong, or what is taken for lung is none: {_AGAIN}",
            code=3039,
        )
    flags: tuple[Flag, ...] = ()
    if litres > _MOST_LITRES_FLAGGED:
        flags = (
            Flag(
                "lungs_too_large",
                f"the lungs hold {litres:.1f} litres, lungs of adults {_MOST_LITRES_FLAGGED:g} at most: the "
                "voxel size may be wrong, or what is taken for lung is none; look at the lung mask",
            ),
        )
    if not chest.has_both_lungs:
        return flags
    return flags + _proportion_doubts(chest, found, source)


def _proportion_doubts(chest: CoarseChest, found: str, source: str) -> tuple[Flag, ...]:
    height_mm, depth_mm, width_mm = chest.box_mm
    height, depth = height_mm / width_mm, depth_mm / width_mm
    is_whole = not any(chest.is_cut)
    for what, ratio, (least, most), is_judged in (
        ("high", height, _HEIGHT_REFUSED, is_whole),
        ("deep", depth, _DEPTH_REFUSED, True),
    ):
        if ratio > most or (ratio < least and is_judged):
            raise GeometryError(
                f"{source}: {found}, {ratio:.2g} times as {what} as wide, expected {least:g} to {most:g}. "
                f"The spacings in the header are wrong or belong to other axes: {_AGAIN}",
                code=3038,
            )
    is_odd = (
        height > _HEIGHT_FLAGGED[1]
        or (is_whole and height < _HEIGHT_FLAGGED[0])
        or not _DEPTH_FLAGGED[0] <= depth <= _DEPTH_FLAGGED[1]
    )
    if not is_odd:
        return ()
    return (
        Flag(
            "odd_proportions",
            f"{found}, which few lungs are: the spacings in the header may be wrong or belong to other axes, "
            "or a large part of the lungs was not found; look at the scan and at the lung mask in a viewer",
        ),
    )


def extent_remarks(chest: CoarseChest, grid: Grid) -> tuple[Flag, ...]:
    """What of the lungs is not in the scan, so that its millilitres are those of a part."""
    slices = grid.lps_shape[0]
    ends = [name for name, is_cut in zip(("first", "last"), chest.is_cut, strict=True) if is_cut]
    if not ends:
        return ()
    where = "the only slice" if slices == 1 else " and ".join(f"the {end}" for end in ends) + " slice"
    return (
        Flag(
            "lungs_cut",
            f"lung reaches {where} of {slices} (foot to head): the lungs go on outside the scan, and all "
            "millilitres are those of the part within",
            warns=False,
        ),
    )
