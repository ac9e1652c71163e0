"""Slices of labelled scans with their scores, for the slice gate: data, candidates, lesions.

Scans are segmented as by ``infnet-infer``, lungs found. Those that fit choose numbers, the others measure
them; nothing of the reserved cases is read. Single pictures have no voxel size: their pixels are the nominal
ones of their sets, and the lungs of the enhanced ones are the labelled ones.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cc3d
import cv2
import numpy as np

from infnet_runtime import CtVolume
from infnet_runtime.arrays import AnyArray, BoolArray, DoubleArray, FloatArray
from infnet_runtime.io import open_scan
from infnet_runtime.measure.slices import findings
from infnet_runtime.segment.result import Segmentation
from infnet_train.data.negatives import groups_held_back
from infnet_train.data.volumes import labels_on

FIRST, MORE, NONE = "radiopaedia-covid-volumes", "radiopaedia-covid-volumes-2", "healthy-ct-volumes"
SCANS = (  # folder, name, case, whether it fits
    (FIRST, "radiopaedia_7_85703_0", "7_85703", True),
    (MORE, "radiopaedia_10_85902_1", "10_85902", True),
    (MORE, "radiopaedia_10_85902_3", "10_85902", True),
    (NONE, "LIDC-IDRI-0002_low", "LIDC-IDRI-0002", True),
    (NONE, "LIDC-IDRI-0002_high", "LIDC-IDRI-0002", True),
    *(
        (NONE, f"Lung_Dx-A0002-{kernel}_{part}", "Lung_Dx-A0002", True)
        for kernel in ("B40f", "B70f")
        for part in ("low", "high")
    ),
    (FIRST, "radiopaedia_4_85506_1", "4_85506", False),
    (FIRST, "radiopaedia_29_86491_1", "29_8649", False),
    (MORE, "radiopaedia_29_86490_1", "29_8649", False),
)
ENHANCED, ENHANCED_MEASURE, ENHANCED_MM = "coronacases-slices", ("002", "006"), 1.4
NORMAL, NORMAL_MM = "iq-othnccd-normal", 0.7
LESION_ML = 0.1
GATE_SCORE = "agreed area"  # what the runtime's gate asks for


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scan with its labels, and what it is for.

    Parameters
    ----------
    truth, lungs : (slice, row, column)
        Infection of the labels; lungs where they are given.
    nominal_mm : mm
        Pixel of a picture without a size; None for a volume.
    """

    name: str
    case: str
    fits: bool
    volume: CtVolume
    truth: BoolArray | None = None
    lungs: AnyArray | None = None
    nominal_mm: float | None = None


@dataclass(frozen=True)
class Slice:
    """A slice with lung, its scores by name, and millilitres marked, rightly and wrongly."""

    number: int
    infected: bool
    scores: dict[str, float]
    right_ml: float
    false_ml: float


@dataclass(frozen=True)
class Lesion:
    """A labelled lesion, and the numbers of the slices in which the mask touches it."""

    ml: float
    touched: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """What there is of a scan once it is segmented."""

    name: str
    case: str
    fits: bool
    is_volume: bool
    slices: tuple[Slice, ...]
    lesions: tuple[Lesion, ...]


def labelled_scans(data: Path, healthy: Sequence[Path]) -> Iterator[Labelled]:
    """All of them, one by one."""
    for folder, name, case, fits in SCANS:
        volume = open_scan(data / folder / f"{name}_ct.nii.gz").volume
        truth = np.asarray(labels_on(volume, data / folder / f"{name}_infection.nii.gz") > 0)
        yield Labelled(name, case, fits, volume, truth)
    for path in healthy:
        yield Labelled(path.name, path.name, False, open_scan(path).volume)
    for path in sorted((data / ENHANCED / "ct").glob("*.png")):
        number = path.stem.split("_")[1]
        volume = open_scan(path).volume
        lungs, truth = (_is_white(data / ENHANCED / kind / path.name)[None] for kind in ("lung", "infection"))
        measures = number in ENHANCED_MEASURE
        given = volume.from_lps(lungs.astype(np.uint8))
        yield Labelled(path.stem, f"coronacases_{number}", not measures, volume, truth, given, ENHANCED_MM)
    with (data / NORMAL / "slices.csv").open(encoding="utf-8", newline="") as file:
        groups = {row["file"]: int(row["group"]) for row in csv.DictReader(file)}
    held_back = groups_held_back(set(groups.values()))
    for name, group in groups.items():
        volume = open_scan(data / NORMAL / "images" / name).volume
        fits = group not in held_back
        yield Labelled(name, f"normal_{group}", fits, volume, nominal_mm=NORMAL_MM)


def _is_white(path: Path) -> BoolArray:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"cannot read {path}")
    return np.asarray(picture > 128)


def measured(scan: Labelled, result: Segmentation) -> Measured:
    """Scores of every slice with lung, and the lesions."""
    volume = scan.volume
    mask, lungs = volume.to_lps(result.mask) > 0, volume.to_lps(result.lungs) > 0
    assert result.probability is not None
    inside = np.where(lungs, volume.to_lps(result.probability), 0)
    truth = np.zeros(mask.shape, np.bool_) if scan.truth is None else scan.truth
    if scan.nominal_mm is None:
        pixel_mm2, voxel_ml = volume.grid.pixel_mm2, volume.grid.voxel_ml
    else:
        pixel_mm2, voxel_ml = scan.nominal_mm**2, 0.0
    assert pixel_mm2 is not None
    assert voxel_ml is not None
    scores = all_scores(mask, lungs, inside, pixel_mm2)
    slices = tuple(
        Slice(
            k,
            bool(truth[k].any()),
            {name: float(values[k]) for name, values in scores.items()},
            voxel_ml * int((mask[k] & truth[k]).sum()),
            voxel_ml * int((mask[k] & ~truth[k]).sum()),
        )
        for k in np.flatnonzero(lungs.any(axis=(1, 2))).tolist()
    )
    is_volume = scan.nominal_mm is None
    lesions = tuple(lesions_of(truth, mask, voxel_ml)) if is_volume else ()
    return Measured(scan.name, scan.case, scan.fits, is_volume, slices, lesions)


def lesions_of(truth: BoolArray, mask: BoolArray, voxel_ml: float) -> Iterator[Lesion]:
    """Pieces of the labels of more than LESION_ML."""
    pieces = cc3d.connected_components(truth, connectivity=26)
    for label, voxels in enumerate(np.bincount(pieces.ravel())[1:], start=1):
        if voxels * voxel_ml > LESION_ML:
            touched = ((pieces == label) & mask).any(axis=(1, 2))
            yield Lesion(float(voxels * voxel_ml), tuple(np.flatnonzero(touched).tolist()))


def all_scores(
    mask: BoolArray, lungs: BoolArray, probability: FloatArray, pixel_mm2: float
) -> dict[str, DoubleArray]:
    """Scores by name, one number a slice.

    Parameters
    ----------
    probability : (slice, row, column)
        In the lungs, else 0.
    """
    area = mask.sum(axis=(1, 2)) * pixel_mm2
    largest = np.array([_largest(plane) for plane in mask]) * pixel_mm2
    logits = np.array([_logits_above_0(plane) for plane in probability]) * pixel_mm2
    agreed = np.zeros(len(mask))
    for one in findings(mask.astype(np.uint8), lungs.astype(np.uint8), pixel_mm2):
        agreed[one.number - 1] = one.score_mm2
    return {
        "area": area,
        GATE_SCORE: agreed,
        "largest piece": largest,
        "agreed largest piece": _agreed(largest),
        "sum of logits above 0": logits,
        "agreed sum of logits": _agreed(logits),
        "mean of the top 500 mm2": np.array([_top(plane, round(500 / pixel_mm2)) for plane in probability]),
        "mean of the top 100 mm2": np.array([_top(plane, round(100 / pixel_mm2)) for plane in probability]),
        "largest probability": probability.max(axis=(1, 2)).astype(float),
        "share of the lung": mask.sum(axis=(1, 2)) / np.maximum(lungs.sum(axis=(1, 2)), 1),
        "piece through slices": _pieces_through(mask, pixel_mm2),
    }


def _agreed(values: DoubleArray) -> DoubleArray:
    """The smaller of a slice's and the larger of its neighbours'; a single slice has none."""
    if len(values) == 1:
        return values
    beside = np.pad(values, 1, constant_values=-math.inf)
    return np.minimum(values, np.maximum(beside[:-2], beside[2:]))


def _largest(plane: BoolArray) -> int:
    sizes = np.bincount(cc3d.connected_components(plane, connectivity=8).ravel())[1:]
    return int(sizes.max(initial=0))


def _logits_above_0(plane: FloatArray) -> float:
    likely = np.minimum(plane[plane > 0.5].astype(float), 1 - 5e-4)  # float16 ends there
    return float(np.log(likely / (1 - likely)).sum())


def _top(plane: FloatArray, pixels: int) -> float:
    values = plane.ravel().astype(np.float32)
    pixels = min(max(pixels, 1), len(values))
    return float(np.partition(values, len(values) - pixels)[-pixels:].mean())


def _pieces_through(mask: BoolArray, pixel_mm2: float) -> DoubleArray:
    """Size of the largest piece through neighbouring slices that a slice has a part of."""
    pieces = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(pieces.ravel()).astype(float) * pixel_mm2
    sizes[0] = 0
    return np.array([sizes[np.unique(plane)].max() for plane in pieces])
