"""What the numbers themselves tell their reader to beware of; ``docs/flags.md`` explains each flag."""

from infnet_runtime.measure.definitions import COMPONENT_FLOOR_ML, PADDING_BELOW_HU
from infnet_runtime.measure.flags import OUTSIDE_LUNGS, Flag
from infnet_runtime.measure.result import Burden
from infnet_runtime.measure.tally import LOBES, LOWEST_HU, RegionTally, Tally
from infnet_runtime.model.false_marks import FalseMarks

OUTSIDE_FLAG_FRACTION = 0.02  # above this share, consolidation was probably left out of the lungs
# Of the voxels of the lungs; a rim of padding at the edge of the field is less.
_PADDING_FRACTION = 0.005
_OUTSIDE_LOBES_FRACTION = 0.05  # of the lungs; the borders of two masks differ by less
# Of the infection: pieces below the floor hold 0.7 % at the most in four scans with the shipped model.
_SMALL_PIECES_FRACTION, _SMALL_PIECES = 0.1, 20
# Three deviations below the mean of lesions in one cohort (-462 +- 99 HU). Four lungs without infection have
# medians of -874 to -771 HU.
_AERATED_MEDIAN_HU = -800
# Half of the least that adults hold at full inspiration.
_SMALL_LUNGS_ML = 2000.0


def remarks(
    counted: Tally,
    sides: dict[str, Burden | None],
    *,
    voxel_ml: float | None,
    outside_voxels: int,
    level: FalseMarks | None,
    known: tuple[Flag, ...],
    has_lobes: bool,
) -> tuple[Flag, ...]:
    """Flags of what was measured.

    Parameters
    ----------
    sides
        ``both``, ``right`` and ``left`` to their numbers.
    outside_voxels
        Marked outside the lungs.
    level
        Of the model, below which a result may be nothing.
    known
        Flags that there are already.
    """
    both = counted.region("both")
    found = [*_outside(counted, outside_voxels)]
    if sides["both"] and level:
        found += _below_level(sides["both"], level)
    if has_lobes:
        found += _outside_lobes(counted)
    if sides["both"]:
        found += _aerated(sides["both"])
    if voxel_ml is not None:
        found += _small_pieces(both, voxel_ml)
    if all(side and side.lung_ml for side in sides.values()) and "lungs_cut" not in [
        flag.name for flag in known
    ]:
        found += _small_lungs(sides["both"])
    return (*found, *_padding(both))


def _outside(counted: Tally, outside_voxels: int) -> tuple[Flag, ...]:
    marked = outside_voxels + counted.infected
    return (OUTSIDE_LUNGS,) if marked and outside_voxels > OUTSIDE_FLAG_FRACTION * marked else ()


def _aerated(both: Burden) -> tuple[Flag, ...]:
    """A mask of the lungs in the place of one of the infection."""
    median = both.infection_median_hu
    if median is None or median > _AERATED_MEDIAN_HU:
        return ()
    return (
        Flag(
            "infection_aerated",
            f"half of what is marked as infection lies at {median} HU or below, as lung without infection "
            f"does ({_AERATED_MEDIAN_HU} and below): look whether the mask marks infection",
        ),
    )


def _small_pieces(both: RegionTally, voxel_ml: float) -> tuple[Flag, ...]:
    """Noise of a mask, or of the scan."""
    small = [voxels for voxels in both.pieces if voxels * voxel_ml < COMPONENT_FLOOR_ML]
    share = sum(small) / max(1, both.infected)
    if len(small) < _SMALL_PIECES or share <= _SMALL_PIECES_FRACTION:
        return ()
    return (
        Flag(
            "many_small_pieces",
            f"{100 * share:.0f} % of the infection are {len(small)} pieces of less than {COMPONENT_FLOOR_ML} "
            "ml each: this looks like noise; look at the mask",
        ),
    )


def _small_lungs(both: Burden | None) -> tuple[Flag, ...]:
    """Density and shares depend on how deep the breath was."""
    if both is None or both.lung_ml is None or both.lung_ml >= _SMALL_LUNGS_ML:
        return ()
    return (
        Flag(
            "lungs_small",
            f"the lungs hold {both.lung_ml:.0f} ml, less than half of what adults do at full inspiration: "
            "breathed out, or a child. Such lungs are denser: compare shares and HU only with scans of like "
            "volume",
            warns=False,
        ),
    )


def _below_level(found: Burden, level: FalseMarks) -> tuple[Flag, ...]:
    """The share decides: large lungs have more false marks, and pieces of lungs fewer.

    It was measured in scans, so nothing is said of a picture.
    """
    if found.infection_ml is None or found.infection_percent is None:
        return ()
    if not 0 < found.infection_percent <= level.percent:
        return ()
    return (
        Flag(
            "below_model_level",
            f"{found.infection_percent:.1f} % of the lungs ({found.infection_ml:.1f} ml) is no more than "
            f"this model marks in scans without infection (up to {level.percent:.1f} % and {level.ml:.0f} ml "
            f"in {level.scans} of them): it may be nothing; look at the mask",
        ),
    )


def _outside_lobes(counted: Tally) -> tuple[Flag, ...]:
    """Scores of lobes leave out what lies in none of them."""
    lung = counted.region("both").lung
    outside = lung - sum(counted.region(name).lung for name in LOBES)
    if outside <= _OUTSIDE_LOBES_FRACTION * lung:
        return ()
    return (
        Flag(
            "lobes_incomplete",
            f"{100 * outside / lung:.0f} % of the lungs lie in no lobe of the lobe mask: numbers and scores "
            "of lobes leave them out; look whether the lobe mask is that of this scan",
        ),
    )


def _padding(lungs: RegionTally) -> tuple[Flag, ...]:
    """HU of the lungs mean little where the mask holds what was not scanned."""
    if lungs.lung_hu is None or not lungs.lung:
        return ()
    share = int(lungs.lung_hu[: PADDING_BELOW_HU - LOWEST_HU].sum()) / lungs.lung
    if share <= _PADDING_FRACTION:
        return ()
    return (
        Flag(
            "padding_in_lungs",
            f"{100 * share:.1f} % of the lung mask lies below {PADDING_BELOW_HU} HU, which is padding and no "
            "lung: its volume is too large and its HU are too low; give a lung mask that leaves it out",
        ),
    )
