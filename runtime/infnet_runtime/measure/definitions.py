"""What the numbers mean: limits in HU, floors and bins, all of which stand in every report.

Published bins touch or leave holes (1-25 and 25-50; 26-49 and 50-75). Here each share falls into one bin.
Shares are never rounded before.
"""

from dataclasses import dataclass
from typing import Any

HIGH_OPACITY_ABOVE_HU = -200
"""Of the percentage of high opacity (Chaganti et al. 2020, doi:10.1148/ryai.2020200048)."""
THRESHOLD_SET = "chaganti-2020"
_THRESHOLDS = {
    "name": THRESHOLD_SET,
    "high_opacity_above_hu": HIGH_OPACITY_ABOVE_HU,
    "source": "-200 HU is taken from works that use the percentage of high opacity; the abstract of Chaganti "
    "et al. 2020, which introduced it, gives no number",
}

PADDING_BELOW_HU = -1024
"""Lower values are no measurement: they fill what was not scanned."""
MASS_DENSITIES = (0.0, 1.1)
"""g per ml that a voxel of lung can have; what lies beyond is padding or metal, and is clipped."""

COMPONENT_FLOOR_ML = 0.1
FLATTEST = 3.5
"""The widest a piece may be for its height. No lesion of 0.1 ml or more that one of two groups of readers
labelled in six volumes is flatter than 3.45 (``benchmarks/flat_marks.py``)."""
LOBE_FLOOR_ML, LOBE_FLOOR_PERCENT = 0.1, 0.1
"""Below either, a lobe counts as free: a model hardly ever marks exactly nothing."""


@dataclass(frozen=True)
class Bins:
    """Half-open bins of a share in percent; the score is the number of the bin.

    Parameters
    ----------
    upper
        Upper edge of each bin but the last, and whether a share that equals it belongs to the bin.
    """

    upper: tuple[tuple[float, bool], ...]

    def score(self, percent: float) -> int:
        """Bin of a share.

        Examples
        --------
        >>> [QUARTERS.score(p) for p in (0.99, 1, 25, 25.01, 75, 100)]
        [0, 1, 1, 2, 3, 4]
        """
        passed = (percent > edge or (percent == edge and not belongs) for edge, belongs in self.upper)
        return sum(passed)

    def to_dicts(self) -> list[dict[str, float]]:
        """Plain values for JSON: ``below`` an edge, or ``up_to`` and with it; the last bin has neither."""
        bins: list[dict[str, float]] = [
            {"score": score, ("up_to" if belongs else "below"): edge}
            for score, (edge, belongs) in enumerate(self.upper)
        ]
        return [*bins, {"score": len(self.upper)}]


QUARTERS = Bins(((1, False), (25, True), (50, True), (75, True)))
"""Of LSS and LHOS (Chaganti), TSS (Li) and the zones."""
CTSS = Bins(((0, True), (5, False), (26, False), (51, False), (75, True)))
"""Of the CT severity score (Pan; Francone); 0 is a share below the floor of a lobe."""

DEFINITIONS: dict[str, Any] = {
    "infection": "voxels of the infection mask inside the lungs; by a model those whose infection "
    "probability, on the scan's own grid, reaches the threshold",
    "infection_percent": "PO, percentage of opacity: infection_ml / lung_ml * 100, of the same region",
    "pho_percent": "PHO, percentage of high opacity: infection above high_opacity_above_hu / lung * 100; "
    "the denominator is the lung",
    "high_opacity_fraction": "infection above high_opacity_above_hu / infection",
    "hu": "values of the original voxels, rounded to whole HU; sd is that of all voxels; p10, median and p90 "
    "are the lowest HU that 10, 50 and 90 % of the voxels do not exceed",
    "mass_g": "volume times (HU + 1000) / 1000 g per ml, clipped to mass_density_g_per_ml; no other number "
    "clips, so padding inside a lung mask lowers its HU",
    "excess_mass_g": "infection_mass_g less the mass that the same volume has at the median HU of the lung "
    "outside the infection",
    "hu_classes": "the infection split at high_opacity_above_hu: ground glass up to it, consolidation above; "
    "by HU alone, not by a model",
    "components": "pieces of the infection that touch by faces, edges or corners (26 neighbours); counted "
    "from component_floor_ml on",
    "craniocaudal_extent_mm": "from the lowest to the highest slice with infection, both with their height, "
    "along the body axis",
    "centroid_z_percent_of_lung": "height of the infection's centroid in its lung, 0 the lower and 100 the "
    "upper end",
    "zones": "thirds of each lung's height by its slices, of the part that is in the scan; published zones "
    "use the carina and the veins, so the key ends in _geometric",
    "flat_marks_ml": "pieces of what a model marked that are wider than "
    f"{FLATTEST:g} times their height, where width is the diameter of the disc of the area in the largest "
    "slice, and that reach no slice beyond which was not looked; not part of the infection unless "
    "keep_flat_marks in the provenance is true",
    "lobes": "of the lobe mask, inside the lungs",
    "hu_histogram": "voxels by HU; the first bin also holds all below it, the last all above",
    "ml": "number of voxels times |det(affine)| / 1000",
    "right, left": "the patient's sides",
    "slices": "every axial slice with lung, number 1 the lowest of the scan; z_mm is where the centre of its "
    "plane lies along the body axis, upwards, in the coordinates of the file; infection_mm2 is what was "
    "marked in it, score_mm2 the smaller of that and of the neighbour that has more, infected whether the "
    "score reaches the model's slice gate; with slice_gate_mm2 in the provenance the others were silenced",
    "thresholds": _THRESHOLDS,
    "mass_density_g_per_ml": list(MASS_DENSITIES),
    "component_floor_ml": COMPONENT_FLOOR_ML,
    "lobe_floor": {"ml": LOBE_FLOOR_ML, "percent": LOBE_FLOOR_PERCENT},
    "bins": {
        "ctss_0_25": CTSS.to_dicts(),
        "lss_0_20": QUARTERS.to_dicts(),
        "lhos_0_20": QUARTERS.to_dicts(),
        "tss_0_20": QUARTERS.to_dicts(),
        "zone_score_0_24_geometric": QUARTERS.to_dicts(),
    },
    "notice": "research software, not a medical device",
}
"""As they stand in a report; a share below the floor of a lobe is taken for 0 by the scores of lobes."""

CLASS_DEFINITIONS = {
    "classes": "of each voxel of the infection, ground glass where its probability on the scan's own grid is "
    "at least that of consolidation, else consolidation; both together are the infection",
    "ggo_ml, consolidation_ml": "ground glass and consolidation, as source says by what",
    "ggo_percent_of_infection": "ggo_ml / infection_ml * 100, of the same region",
}
"""Added where a model told the classes apart."""
