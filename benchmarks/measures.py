"""Scores of single slices by both protocols, and their means under every rule for empty slices.

A slice is scored once and kept as counts, so that one run gives means over cases, volumes or all slices.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from infnet_runtime import Segmentation
from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.metrics import Confusion, EmptyRule, LabelledSlice, confusion, paper_scores
from infnet_runtime.metrics.clinical import OVERLAPS, RATIOS
from infnet_runtime.metrics.confusion import Ratio
from infnet_runtime.metrics.inputs import Map, unit_map
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.slices.temperature import without_temperature

Predict = Callable[[str, ByteArray], Map]

RULES: tuple[EmptyRule, ...] = ("one", "skip", "zero")


@dataclass(frozen=True)
class Mean:
    """A mean over cases and its standard error, as if the cases were independent.

    ``None`` is a mean over nothing, or an error of a single case.
    """

    value: float | None
    standard_error: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self:
        """Mean of those that have a value."""
        present = [value for value in values if value is not None]
        n = len(present)
        error = float(np.std(present, ddof=1)) / n**0.5 if n > 1 else None
        return cls(float(np.mean(present)) if n else None, error, n)


@dataclass(frozen=True)
class ScoredSlice:
    """Scores of one slice.

    Parameters
    ----------
    counts
        Of the pixels at the model's threshold: the clinical protocol.
    mae
        Mean distance of the probability from the truth.
    paper
        Measures of the paper's protocol, means over its thresholds.
    """

    name: str
    counts: Confusion
    mae: float
    paper: dict[str, float]

    @property
    def is_infected(self) -> bool:
        """Whether the truth has a pixel."""
        return self.counts.true_positive + self.counts.false_negative > 0


@dataclass(frozen=True)
class Summary:
    """Means over slices by both protocols; ``pooled`` counts the pixels of all slices together."""

    slices: int
    paper: dict[str, Mean]
    clinical: dict[str, Mean]
    pooled: dict[str, float | None]


def score_pictures(
    slices: Iterable[LabelledSlice], predict: Predict, output: OutputSpec
) -> list[ScoredSlice]:
    """Scores of slices that stand for themselves, each at its own size.

    Parameters
    ----------
    output
        Threshold and temperature of what ``predict`` gives.
    """
    scored = []
    for name, grey, truth in slices:
        found = predict(name, grey)
        mask = unit_map(found) >= output.threshold
        scored.append(score_slice(name, found, mask, truth, output.temperature))
    return scored


def score_volume(name: str, result: Segmentation, truth: BoolArray) -> list[ScoredSlice]:
    """Scores of every slice of a segmented scan, whole slices, foot to head.

    The map of the paper's protocol is what the runtime counts with: the probability inside the lungs, else 0.

    Parameters
    ----------
    truth : (i, j, k)
        In the order of the scan, as the result.
    """
    assert result.probability is not None
    volume = result.volume
    mask, lungs = volume.to_lps(result.mask) > 0, volume.to_lps(result.lungs) > 0
    probability, labelled = volume.to_lps(result.probability), volume.to_lps(truth)
    return [
        score_slice(
            f"{name} {k}",
            np.where(lungs[k], probability[k], 0).astype(np.float32),
            mask[k],
            labelled[k],
            result.provenance.temperature,
        )
        for k in range(len(mask))
    ]


def score_slice(
    name: str, probability: Map, mask: BoolArray, truth: BoolArray, temperature: float
) -> ScoredSlice:
    """Scores of one slice, (rows, columns) each; the paper's are of the map before ``temperature``."""
    own = probability
    if temperature != 1:
        own = without_temperature(np.asarray(probability, np.float32), temperature)
    paper = paper_scores(own, truth).to_dict()
    del paper["adaptive"]
    error = float(np.abs(unit_map(probability) - truth).mean())
    return ScoredSlice(name, confusion(mask, truth), error, paper)


def summarise(slices: Sequence[ScoredSlice], *, empty: EmptyRule = "one") -> Summary:
    """Means over slices.

    Parameters
    ----------
    empty
        Overlap measures of a slice where neither prediction nor truth has a pixel: 1, left out, or 0.
    """
    total = sum((one.counts for one in slices), start=Confusion(0, 0, 0, 0))
    clinical: dict[str, Mean] = {m: Mean.of(ratio(one.counts, m, empty) for one in slices) for m in RATIOS}
    return Summary(
        slices=len(slices),
        paper={m: Mean.of(one.paper[m] for one in slices) for m in slices[0].paper},
        clinical={**clinical, "mae": Mean.of(one.mae for one in slices)},
        pooled={m: ratio(total, m, empty) for m in RATIOS},
    )


def ratio(counts: Confusion, measure: Ratio, empty: EmptyRule) -> float | None:
    """A measure of the clinical protocol; ``None`` is left out."""
    if counts.is_empty and measure in OVERLAPS:
        return {"one": 1.0, "zero": 0.0, "skip": None}[empty]
    return counts.ratio(measure)


def volume_row(slices: Sequence[ScoredSlice], result: Segmentation) -> dict[str, Any]:
    """What one volume is quoted with: its voxels counted together, millilitres, false positives."""
    counts = sum((one.counts for one in slices), start=Confusion(0, 0, 0, 0))
    healthy = [one.counts.false_positive for one in slices if not one.is_infected]
    burden, ml = result.quantification.both, result.volume.voxel_volume_ml
    assert burden
    return {
        **{measure: counts.ratio(measure) for measure in RATIOS},
        "slices": len(slices),
        "labelled_ml": (counts.true_positive + counts.false_negative) * ml,
        "measured_ml": burden.infection_ml,
        "measured_percent": burden.infection_percent,
        "lung_ml": burden.lung_ml,
        "slices_without_infection": len(healthy),
        "of_them_marked": sum(voxels > 0 for voxels in healthy),
        "false_positive_ml_in_them": sum(healthy) * ml,
        "outside_lungs_ml": result.quantification.infection_outside_lungs_ml,
        "flags": list(result.quantification.flags),
        "seconds": result.provenance.seconds,
    }


def healthy_row(result: Segmentation) -> dict[str, Any]:
    """False positives in a scan without COVID-19: whatever is marked."""
    burden = result.quantification.both
    assert burden
    return {
        "lung_ml": burden.lung_ml,
        "false_positive_ml": burden.infection_ml,
        "false_positive_percent": burden.infection_percent,
        "slices_with_lung": result.quantification.slices_with_lung,
        "slices_marked": result.quantification.slices_with_infection,
        "seconds": result.provenance.seconds,
    }
