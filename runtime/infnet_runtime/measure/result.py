"""The numbers of a scan, as they are given to programs and written down.

What each is stands in ``docs/quantification.md``. A number that cannot be given is None, and ``reasons`` says
why.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from infnet_runtime.measure.definitions import HIGH_OPACITY_ABOVE_HU


@dataclass(frozen=True)
class Burden:
    """Infection of one region.

    Parameters
    ----------
    lung_ml, infection_ml : ml
        None where the scan has no voxel size.
    infection_percent : % of the lung
        None where none of that lung is in the picture.
    high_opacity_ml : ml
        Infection above ``HIGH_OPACITY_ABOVE_HU``; None where the values are no HU, as all that follows from
        them.
    pho_percent : % of the lung
        The same.
    high_opacity_fraction
        The same, of the infection; None where there is none.
    lung_mean_hu, lung_sd_hu, lung_p10_hu, lung_median_hu, lung_p90_hu : HU
    infection_mean_hu, infection_sd_hu, infection_p10_hu, infection_median_hu, infection_p90_hu : HU
        None where there is no infection.
    mass_g, infection_mass_g : g
        Of the lung with all in it, and of the infection.
    excess_mass_g : g
        Mass of the infection beyond that of as much lung without infection.
    component_count
        Connected pieces of the infection, those of ``COMPONENT_FLOOR_ML`` and more.
    largest_component_ml : ml
    craniocaudal_extent_mm : mm
        Height of what is infected.
    centroid_z_percent_of_lung : % of the height of the lung
        0 is its lower end.
    """

    lung_ml: float | None = None
    infection_ml: float | None = None
    infection_percent: float | None = None
    high_opacity_ml: float | None = None
    pho_percent: float | None = None
    high_opacity_fraction: float | None = None
    lung_mean_hu: float | None = None
    lung_sd_hu: float | None = None
    lung_p10_hu: int | None = None
    lung_median_hu: int | None = None
    lung_p90_hu: int | None = None
    infection_mean_hu: float | None = None
    infection_sd_hu: float | None = None
    infection_p10_hu: int | None = None
    infection_median_hu: int | None = None
    infection_p90_hu: int | None = None
    mass_g: float | None = None
    infection_mass_g: float | None = None
    excess_mass_g: float | None = None
    component_count: int | None = None
    largest_component_ml: float | None = None
    craniocaudal_extent_mm: float | None = None
    centroid_z_percent_of_lung: float | None = None


@dataclass(frozen=True)
class ClassBurden:
    """Kinds of the infection of one region.

    Parameters
    ----------
    ggo_ml, consolidation_ml : ml
        Ground glass and consolidation. None where the scan has no voxel size.
    ggo_percent_of_infection, consolidation_percent_of_infection : % of the infection of this region
        None where there is none.
    """

    ggo_ml: float | None
    consolidation_ml: float | None
    ggo_percent_of_infection: float | None
    consolidation_percent_of_infection: float | None


@dataclass(frozen=True)
class Classes:
    """Kinds of the infection of one scan, as a model or a given mask tells them apart.

    Parameters
    ----------
    source
        What told them apart: ``model``, or ``given_mask``.
    labels
        Value in the class map to name and code.
    both, right, left
        As in :class:`Quantification`.
    reasons
        Name of a missing number to why it is missing, as in :class:`Quantification`; ``no_infection`` where
        there is no share because there is no infection.
    """

    source: str
    labels: dict[str, dict[str, str]]
    both: ClassBurden | None
    right: ClassBurden | None
    left: ClassBurden | None
    reasons: dict[str, str]


@dataclass(frozen=True)
class HuClasses:
    """Kinds of the infection of one scan, told apart by a limit in HU.

    Parameters
    ----------
    both, right, left
        As in :class:`Quantification`.
    reasons
        As in :class:`Classes`.
    threshold_hu : HU
        Consolidation lies above it.
    source
        What told them apart.
    """

    both: ClassBurden | None
    right: ClassBurden | None
    left: ClassBurden | None
    reasons: dict[str, str]
    threshold_hu: int = HIGH_OPACITY_ABOVE_HU
    source: str = "hu_threshold"


@dataclass(frozen=True)
class Zone:
    """A third of a lung.

    Parameters
    ----------
    infection_percent : % of the lung of the zone
    score
        0 to 4.
    """

    infection_percent: float
    score: int


@dataclass(frozen=True)
class Scores:
    """Sums of scores over lobes, and over zones.

    Parameters
    ----------
    ctss_0_25, lss_0_20, lhos_0_20, tss_0_20
        Over five lobes; None without a lobe mask.
    zone_score_0_24_geometric
        Over six thirds of lungs, cut by height.
    """

    ctss_0_25: int | None
    lss_0_20: int | None
    lhos_0_20: int | None
    tss_0_20: int | None
    zone_score_0_24_geometric: int | None


@dataclass(frozen=True)
class HuHistogram:
    """Voxels by HU.

    Parameters
    ----------
    from_hu, step_hu : HU
        Lower edge of the first bin, and width of each.
    lung, infection
        Voxels of each bin; the infection is part of the lung.
    """

    from_hu: int
    step_hu: int
    lung: tuple[int, ...]
    infection: tuple[int, ...]


@dataclass(frozen=True)
class Uncertainty:
    """How far the volume of the infection may be off.

    Parameters
    ----------
    infection_ml_band : ml
        Threshold of the probability to the volume at it; no interval of confidence. None where the
        probabilities were not kept.
    flip_disagreement
        1 - Dice of the mask and that of the mirrored slices; None where these were not looked at.
    flipped_infection_ml : ml
        Volume of the latter.
    reasons
        As in :class:`Classes`.
    """

    infection_ml_band: dict[str, float] | None
    flip_disagreement: float | None
    flipped_infection_ml: float | None
    reasons: dict[str, str]


@dataclass(frozen=True)
class Quantification:
    """Infection of one scan.

    Parameters
    ----------
    both, right, left
        Whole lungs, and the patient's right and left lung. None where no lung is, and the sides where they
        cannot be told apart.
    slices, slices_with_lung, slices_with_infection
        Counts of axial slices.
    infection_outside_lungs_ml : ml
        What the network marked outside the lungs; not part of the mask. None without lung: the network
        does not run then.
    flat_marks_ml : ml
        What the network marked in one slice and hardly in the next ones; not part of the mask. None where
        such marks were kept or not looked for, see :mod:`~infnet_runtime.measure.flat_marks`.
    flags
        Names of what a reader must know before trusting a number; see :mod:`~infnet_runtime.measure.flags`.
    flag_texts
        Name of a flag to its sentence.
    warnings
        Names of the flags that say that the numbers may be wrong; the others are remarks.
    reasons
        Name of a missing number, such as ``left`` or ``both.lung_ml``, to why it is missing:
        ``no_voxel_size``, ``no_hu``, ``no_lung``, ``no_infection``, ``side_unknown``,
        ``outside_the_picture``, ``no_reference``, ``too_few_slices``, ``lobe_mask_missing``,
        ``lobe_missing``, ``slice_distance_unknown`` or ``flat_marks_kept``.
    lobes
        Name of a lobe to its numbers; None without a lobe mask, and a lobe where none of it is in the mask.
    scores
        Over lobes and zones.
    zones
        ``right_upper`` to ``left_lower``: thirds of each lung's height.
    hu_classes
        The infection split by HU; None where the values are none.
    hu_histogram
        None where the values are no HU, or there is no lung.
    uncertainty
        Of the volume.
    classes
        Ground glass and consolidation; None, and left out of JSON, where they were not asked for.
    """

    both: Burden | None
    right: Burden | None
    left: Burden | None
    slices: int
    slices_with_lung: int
    slices_with_infection: int
    infection_outside_lungs_ml: float | None
    flat_marks_ml: float | None
    flags: tuple[str, ...]
    flag_texts: dict[str, str]
    warnings: tuple[str, ...]
    reasons: dict[str, str]
    lobes: dict[str, Burden | None] | None
    scores: Scores
    zones: dict[str, Zone] | None
    hu_classes: HuClasses | None
    hu_histogram: HuHistogram | None
    uncertainty: Uncertainty = field(compare=False)  # what was kept of a run does not change its numbers
    classes: Classes | None = None

    @property
    def has_size(self) -> bool:
        """Whether the voxel size of the scan means anything; without it there are shares and no ml."""
        return "no_voxel_size" not in self.reasons.values()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        if self.classes is None:
            del values["classes"]
        return values
