"""How far a smaller model moves the classes of the infection, and whether that is too far.

Classes are less certain than the infection: on their border one is as probable as the other, and a rounding
decides. So they may move three times as far as the infection may, and are measured by it: what one class
gains another loses, and of a class with little of the infection a share says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infnet_runtime.arrays import ByteArray
from infnet_runtime.metrics.mask_limits import ML, Limits, MaskPair, mask_pair
from infnet_runtime.model.specs import OutputSpec

LARGEST_SHIFT = 0.03
"""Of the millilitres or pixels of a class, as a share of the infection. Chosen: three times that of the
infection."""
SMALLEST_AGREEMENT = 0.97
"""Dice between the two masks of a class in a scan. Chosen: a little below the 0.98 asked of the infection,
inside whose mask they lie."""
_LITTLE = 0.01  # of the infection; a class may differ in so much whatever its Dice is


@dataclass(frozen=True)
class OneClass:
    """A class in one scan or picture, through both models.

    Parameters
    ----------
    infection : ml or pixels
        Of the reference, all classes together.
    """

    name: str
    pair: MaskPair
    infection: float


@dataclass(frozen=True)
class ClassShift:
    """A class in all cases of a set.

    Parameters
    ----------
    size_reference, size_candidate : ml or pixels
    agreement
        Smallest Dice between the two masks of a case.
    """

    name: str
    size_reference: float
    size_candidate: float
    unit: str
    agreement: float

    def in_words(self) -> str:
        """One line of a report."""
        return (
            f"{self.name} {self.size_reference:.1f} -> {self.size_candidate:.1f} {self.unit}, smallest Dice "
            f"{self.agreement:.4f}"
        )


def classes_of_case(
    name: str, found: ByteArray, other: ByteArray, output: OutputSpec, voxel_ml: float | None
) -> tuple[OneClass, ...]:
    """Count all classes in two label maps.

    Parameters
    ----------
    voxel_ml : ml
        None for a picture.
    """
    infection = mask_pair(name, found > 0, other > 0, voxel_ml).sizes[0]
    return tuple(
        OneClass(c.name, mask_pair(name, found == c.value, other == c.value, voxel_ml), infection)
        for c in output.classes
    )


def shift_of_class(cases: Sequence[OneClass]) -> ClassShift:
    """The cases of one class together."""
    before, after = (sum(case.pair.sizes[k] for case in cases) for k in (0, 1))
    return ClassShift(
        cases[0].name, before, after, cases[0].pair.unit, min(case.pair.agreement for case in cases)
    )


def faults_of_class(cases: Sequence[OneClass], limits: Limits) -> list[str]:
    """What is beyond the limits: scans each by itself, pictures by their sum.

    Parameters
    ----------
    limits
        What is little of a unit.
    """
    unit = cases[0].pair.unit
    few = limits.few(unit)
    if unit != ML:
        shift, infection = shift_of_class(cases), sum(case.infection for case in cases)
        moved = abs(shift.size_candidate - shift.size_reference)
        return [] if moved <= max(LARGEST_SHIFT * infection, few * len(cases)) else [_moved(shift, "")]
    faults = []
    for case in cases:
        before, after = case.pair.sizes
        if not abs(after - before) <= max(LARGEST_SHIFT * case.infection, few):
            faults.append(_moved(shift_of_class([case]), f" of {case.pair.name}"))
        if not (
            case.pair.agreement >= SMALLEST_AGREEMENT
            or case.pair.differing <= max(_LITTLE * case.infection, few)
        ):
            faults.append(
                f"the masks of {case.name} of {case.pair.name} agree by a Dice of {case.pair.agreement:.4f} "
                f"and differ in {case.pair.differing:.1f} ml (at least {SMALLEST_AGREEMENT:g}, or at most "
                f"{_LITTLE:.0%} of the infection or {few:g} ml)"
            )
    return faults


def limits_in_words(limits: Limits, unit: str) -> str:
    """All that holds for classes in cases of a unit."""
    size = f"{LARGEST_SHIFT:.0%} of the infection or {limits.few(unit):g} {unit}"
    if unit != ML:
        return f"a class by at most {size} a slice"
    return (
        f"a class by at most {size} in each scan, and its masks with a Dice of {SMALLEST_AGREEMENT:g} or "
        f"differing in at most {_LITTLE:.0%} of the infection or {limits.few(unit):g} ml"
    )


def _moved(shift: ClassShift, where: str) -> str:
    return (
        f"{shift.name}{where} moves from {shift.size_reference:.1f} to {shift.size_candidate:.1f} "
        f"{shift.unit} (at most {LARGEST_SHIFT:.0%} of the infection)"
    )
